//! The parsers of Helm's that are fuzzed.

use std::io::Cursor;

use super::artifact;
use super::constraint::Constraint;
use super::metadata::Metadata;
use super::names::{Channel, ChartName, Version};
use super::provenance::Provenance;
use crate::fuzz::{Target, gzip, text};
#[cfg(test)]
use crate::fuzz::{gunzip, lines};

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "helm_chart",
        read: |tar| artifact::inspect(Cursor::new(gzip(tar)), &artifact::Limits::default()).is_ok(),
        #[cfg(test)]
        seeds: || vec![gunzip(&artifact::tests::chart_of("app", "1.0.0"))],
    },
    Target {
        name: "helm_constraint",
        read: |bytes| text(bytes, |text| text.parse::<Constraint>().is_ok()),
        #[cfg(test)]
        seeds: || lines("latest\n^1.2\n~> 1.2.x, !=1.2.3\n>= 1.0-0 < 2 || 3.0 - 3.4\n=1.0.0-rc.1"),
    },
    Target {
        name: "helm_metadata",
        read: metadata,
        #[cfg(test)]
        seeds: || {
            let more = "description: 'an app'\nkeywords: [a, b]\nmaintainers:\n- name: A\n  email: a@b.c\n\
                        dependencies:\n- name: db\n  version: \">=1.0 <2\"\n  condition: db.enabled\n\
                        annotations: {a: \"1\"}\n";
            vec![format!("{}{more}", super::metadata::tests::chart_yaml("app", "1.0.0")).into()]
        },
    },
    Target {
        name: "helm_names",
        read: |bytes| text(bytes, names),
        #[cfg(test)]
        seeds: || lines("app\nmy-chart_2\nstable\n1.0.0-rc.1+b.5\nv1.2"),
    },
    Target {
        name: "helm_provenance",
        read: |bytes| text(bytes, |text| Provenance::read(text.to_owned()).is_ok()),
        #[cfg(test)]
        seeds: || vec![super::provenance::tests::provenance("app", "1.0.0", &"a".repeat(64)).into()],
    },
];

fn metadata(yaml: &[u8]) -> bool {
    let read = Metadata::read(yaml, None);
    if let Ok(read) = &read {
        let shown = serde_json::to_vec(read).expect("metadata are JSON");
        assert!(Metadata::read(&shown, None).is_ok_and(|again| again == *read));
    }
    read.is_ok()
}

fn names(text: &str) -> bool {
    fn is_read<T: std::str::FromStr + ToString>(text: &str) -> bool {
        let read = text.parse::<T>();
        if let Ok(read) = &read {
            assert_eq!(read.to_string(), text);
        }
        read.is_ok()
    }
    // Each, whatever the others say.
    is_read::<ChartName>(text) | is_read::<Version>(text) | is_read::<Channel>(text)
}
