//! The table: what Cairn does, beside what the machine could do at best.

use std::fmt;
use std::time::Duration;

/// What a measurement gives.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Figure {
    /// Something in a second: requests, commits, syncs.
    PerSecond(f64),
    /// Bytes in a second.
    BytesPerSecond(f64),
    /// Bytes.
    Bytes(f64),
    /// How many of one thing for each of another.
    Times(f64),
    /// A time.
    Seconds(f64),
    /// A part of all, at most 1.
    Share(f64),
}

impl Figure {
    /// The number alone.
    pub fn value(self) -> f64 {
        match self {
            Self::PerSecond(value)
            | Self::BytesPerSecond(value)
            | Self::Bytes(value)
            | Self::Times(value)
            | Self::Seconds(value)
            | Self::Share(value) => value,
        }
    }
}

/// With a unit, and as many digits as mean something.
impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerSecond(value) => write!(f, "{value:.0}/s"),
            Self::BytesPerSecond(value) => write!(f, "{} MB/s", digits(value / 1e6)),
            Self::Bytes(value) => write!(f, "{} MB", digits(value / 1e6)),
            Self::Times(value) => write!(f, "{value:.2}"),
            Self::Seconds(value) => write!(f, "{value:.1} s"),
            // What is not all must not look like it.
            Self::Share(value) => write!(f, "{} %", (value * 1e5).floor() / 1e3),
        }
    }
}

fn digits(value: f64) -> String {
    match value {
        ..10.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// What the machine could do at best.
#[derive(Clone, Debug, PartialEq)]
pub struct Limit {
    /// What would do it.
    pub what: &'static str,
    /// How much of it.
    pub figure: Figure,
}

/// What should be reached.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// This part of the limit.
    Ratio(f64),
    /// This figure.
    Figure(f64),
    /// No more than this figure.
    AtMost(f64),
}

/// Processor time of all nodes together, or of the server that they are compared with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cost {
    /// For one request.
    PerRequest(Duration),
    /// In seconds for one byte of content.
    PerByte(f64),
}

impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PerRequest(time) => write!(f, "{} µs/request", digits(time.as_secs_f64() * 1e6)),
            Self::PerByte(seconds) => write!(f, "{:.1} s/GB", seconds * 1e9),
        }
    }
}

/// One figure of Cairn.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// What was measured.
    pub what: String,
    /// What it gave.
    pub cairn: Figure,
    /// How long half of the requests took, and all but one in a hundred.
    pub latency: Option<(Duration, Duration)>,
    /// What to compare it with.
    pub limit: Option<Limit>,
    /// What it should be.
    pub aim: Option<Aim>,
    /// What it cost.
    pub cost: Option<Cost>,
    /// What the same cost the server that it is compared with.
    pub bare_cost: Option<Cost>,
}

impl Row {
    /// A figure with nothing beside it.
    pub(crate) fn new(what: impl Into<String>, cairn: Figure) -> Self {
        Self {
            what: what.into(),
            cairn,
            latency: None,
            limit: None,
            aim: None,
            cost: None,
            bare_cost: None,
        }
    }

    /// Which part of the limit was reached.
    pub fn ratio(&self) -> Option<f64> {
        Some(self.cairn.value() / self.limit.as_ref()?.figure.value())
    }

    /// Whether the aim is reached; none if there is no aim.
    pub fn is_reached(&self) -> Option<bool> {
        Some(match self.aim? {
            Aim::Ratio(aim) => self.ratio()? >= aim,
            Aim::Figure(aim) => self.cairn.value() >= aim,
            Aim::AtMost(aim) => self.cairn.value() <= aim,
        })
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Table {
    /// What the machine is.
    pub machine: String,
    /// What it can do at best.
    pub limits: Vec<(&'static str, Figure)>,
    /// What Cairn does on it.
    pub rows: Vec<Row>,
}

/// Markdown.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Machine: {}.\n", self.machine)?;
        writeln!(f, "| limit of the machine | |\n| --- | ---: |")?;
        for (what, figure) in &self.limits {
            writeln!(f, "| {what} | {figure} |")?;
        }
        writeln!(
            f,
            "\n| measured | Cairn | p50 | p99 | at best | ratio | aim | processor time of the nodes | of the bare handler |\n\
             | --- | ---: | ---: | ---: | --- | ---: | --- | ---: | ---: |"
        )?;
        for row in &self.rows {
            let millis = |time: Duration| format!("{:.2} ms", time.as_secs_f64() * 1e3);
            let (p50, p99) = match row.latency {
                Some((p50, p99)) => (millis(p50), millis(p99)),
                None => Default::default(),
            };
            let limit = row.limit.as_ref();
            let limit = limit.map(|limit| format!("{}: {}", limit.what, limit.figure));
            let ratio = row.ratio().map(|ratio| format!("{:.0} %", ratio * 100.0));
            let aim = row.aim.map(|aim| match aim {
                Aim::Ratio(aim) => format!("{:.0} %", aim * 100.0),
                Aim::Figure(aim) => match row.cairn {
                    Figure::Share(_) => Figure::Share(aim).to_string(),
                    _ => format!("{aim:.0}"),
                },
                Aim::AtMost(aim) => format!("at most {aim:.0}"),
            });
            let reached = match row.is_reached() {
                Some(true) => ", reached",
                Some(false) => ", missed",
                None => "",
            };
            let cost = |cost: Option<Cost>| cost.map(|cost| cost.to_string()).unwrap_or_default();
            writeln!(
                f,
                "| {} | {} | {p50} | {p99} | {} | {} | {}{reached} | {} | {} |",
                row.what,
                row.cairn,
                limit.unwrap_or_default(),
                ratio.unwrap_or_default(),
                aim.unwrap_or_default(),
                cost(row.cost),
                cost(row.bare_cost),
            )?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_markdown_that_says_what_was_reached() {
        let row = Row {
            latency: Some((Duration::from_micros(1500), Duration::from_millis(20))),
            limit: Some(Limit {
                what: "hashing",
                figure: Figure::BytesPerSecond(1e9),
            }),
            aim: Some(Aim::Ratio(0.4)),
            cost: Some(Cost::PerByte(3.21e-9)),
            bare_cost: Some(Cost::PerRequest(Duration::from_micros(7))),
            ..Row::new("blob put", Figure::BytesPerSecond(4.2e8))
        };
        let table = Table {
            machine: "2 cores".into(),
            limits: vec![("fsync", Figure::PerSecond(6789.4))],
            rows: vec![
                row,
                Row {
                    aim: Some(Aim::Figure(20.0)),
                    ..Row::new("commits per fsync", Figure::Times(3.456))
                },
                Row {
                    aim: Some(Aim::AtMost(3.0)),
                    ..Row::new("pause", Figure::Seconds(2.34))
                },
                Row {
                    aim: Some(Aim::Figure(1.0)),
                    ..Row::new("answered", Figure::Share(0.999_999))
                },
            ],
        };
        assert_eq!(
            table.to_string(),
            "Machine: 2 cores.\n\n\
             | limit of the machine | |\n\
             | --- | ---: |\n\
             | fsync | 6789/s |\n\n\
             | measured | Cairn | p50 | p99 | at best | ratio | aim | processor time of the nodes | of the bare handler |\n\
             | --- | ---: | ---: | ---: | --- | ---: | --- | ---: | ---: |\n\
             | blob put | 420 MB/s | 1.50 ms | 20.00 ms | hashing: 1000 MB/s | 42 % | 40 %, reached | 3.2 s/GB | 7.0 µs/request |\n\
             | commits per fsync | 3.46 |  |  |  |  | 20, missed |  |  |\n\
             | pause | 2.3 s |  |  |  |  | at most 3, reached |  |  |\n\
             | answered | 99.999 % |  |  |  |  | 100 %, missed |  |  |\n"
        );
    }
}
