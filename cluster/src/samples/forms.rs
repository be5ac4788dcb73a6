//! Makes values of a type by deserialising it from nothing: every variant of every enum in it
//! once, numbers and texts that it takes, lists of one item.
//!
//! A type that checks what it reads refuses some; then the last thing that it was given is given
//! in another way.

use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{
    self, DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess,
    Visitor,
};

/// What text may have to look like.
const TEXTS: &[&str] = &[
    "sample",
    "10.0.0.1:7081",
    "1.2.3",
    "acme/demo",
    "00000000-0000-4000-8000-000000000001",
    "7-0000000000000005",
    "generic",
    "0123456789ab",
    "api",
    "sha256:4355a46b19d348dc2f57c046f8ef63d4538ebb936000f3c9ee954a27460dd865",
    "0101010101010101010101010101010101010101010101010101010101010101",
    "2026-07-01T12:00:00.000Z",
    "private",
    "{}",
    "https://ci.example",
];

/// What numbers may have to be.
const NUMBERS: &[u64] = &[7, 1, 30, 0, 100];

/// How long bytes may have to be.
const LENGTHS: &[usize] = &[4, 32, 16, 20, 64, 33];

/// More attempts than any type should need.
const MAX_ATTEMPTS: usize = 10_000;

/// How deep a type that holds itself is followed.
const MAX_DEPTH: usize = 24;

/// Values of a type in which every variant of every enum occurs.
pub(crate) fn forms<T: DeserializeOwned>() -> Vec<T> {
    let mut found = Vec::new();
    let mut seen = BTreeSet::new();
    let mut open = vec![Vec::new()];
    while let Some(variants) = open.pop() {
        let (value, chosen): (T, _) = form(&variants);
        let is_new = chosen
            .iter()
            .fold(false, |new, choice| seen.insert(choice.key()) | new);
        if !is_new && !found.is_empty() {
            continue;
        }
        for at in variants.len()..chosen.len() {
            let before: Vec<usize> = chosen[..at].iter().map(|choice| choice.variant).collect();
            let others = (1..chosen[at].variants.len()).rev();
            open.extend(others.map(|variant| [before.as_slice(), &[variant]].concat()));
        }
        found.push(value);
    }
    found
}

/// A variant that was chosen.
struct Choice {
    of: &'static str,
    variants: &'static [&'static str],
    variant: usize,
}

impl Choice {
    fn key(&self) -> (&'static str, &'static [&'static str], usize) {
        (self.of, self.variants, self.variant)
    }
}

/// A value with these variants, and the first of whatever else is to be chosen.
fn form<T: DeserializeOwned>(variants: &[usize]) -> (T, Vec<Choice>) {
    let mut ways: Vec<usize> = Vec::new();
    let mut refusals = Vec::new();
    for _ in 0..MAX_ATTEMPTS {
        let mut maker = Maker {
            variants,
            chosen: Vec::new(),
            ways: &ways,
            given: Vec::new(),
            depth: 0,
        };
        let error = match T::deserialize(&mut maker) {
            Ok(value) => return (value, maker.chosen),
            Err(error) => error,
        };
        let given = maker.given;
        let last = given.iter().rposition(|(way, of)| way + 1 < *of);
        if !refusals.contains(&error.to_string()) {
            refusals.push(error.to_string());
        }
        let Some(last) = last else {
            break;
        };
        ways = given[..=last].iter().map(|(way, _)| *way).collect();
        ways[last] += 1;
    }
    let name = std::any::type_name::<T>();
    // What was refused until the end is among them; a type may need an example in `TEXTS` above.
    panic!("no {name} can be made; what was tried is refused: {refusals:#?}");
}

/// Gives a type what it asks for.
struct Maker<'w> {
    variants: &'w [usize],
    chosen: Vec<Choice>,
    /// In which way each thing is given.
    ways: &'w [usize],
    given: Vec<(usize, usize)>,
    depth: usize,
}

impl Maker<'_> {
    fn way(&mut self, of: usize) -> usize {
        let way = self.ways.get(self.given.len()).copied().unwrap_or(0);
        self.given.push((way, of));
        way
    }

    fn number(&mut self) -> u64 {
        let way = self.way(NUMBERS.len());
        NUMBERS[way]
    }

    fn text(&mut self) -> &'static str {
        let way = self.way(TEXTS.len());
        TEXTS[way]
    }

    fn bytes(&mut self) -> Vec<u8> {
        let way = self.way(LENGTHS.len());
        (1..=LENGTHS[way] as u8).collect()
    }
}

/// A value was refused.
#[derive(Debug)]
struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! numbers {
    ($($asked:ident $visit:ident $number:ty;)*) => {$(
        fn $asked<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            let number = self.number();
            visitor.$visit(<$number>::try_from(number).map_err(de::Error::custom)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for &mut Maker<'_> {
    type Error = Refused;

    numbers! {
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(de::Error::custom("a type that takes anything tells no forms"))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bool(true)
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_f32(0.5)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_f64(0.5)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_char('c')
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.text())
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.text())
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bytes(&self.bytes())
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_byte_buf(self.bytes())
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_some(self)
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items { maker: self, left: 1 })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items {
            maker: self,
            left: len,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items {
            maker: self,
            left: len,
        })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_map(Items { maker: self, left: 1 })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(de::Error::custom("the type holds itself"));
        }
        let left = fields.len();
        let made = visitor.visit_seq(Items { maker: self, left });
        self.depth -= 1;
        made
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        of: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        let variant = self.variants.get(self.chosen.len()).copied().unwrap_or(0);
        self.chosen.push(Choice {
            of,
            variants,
            variant,
        });
        visitor.visit_enum(Variant {
            maker: self,
            name: variants[variant],
        })
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Refused> {
        Err(de::Error::custom("fields come in their order"))
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

struct Items<'m, 'w> {
    maker: &'m mut Maker<'w>,
    left: usize,
}

impl<'de> SeqAccess<'de> for Items<'_, '_> {
    type Error = Refused;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, Refused> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.maker).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.left)
    }
}

impl<'de> MapAccess<'de> for Items<'_, '_> {
    type Error = Refused;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, Refused> {
        self.next_element_seed(seed)
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Refused> {
        seed.deserialize(&mut *self.maker)
    }
}

struct Variant<'m, 'w> {
    maker: &'m mut Maker<'w>,
    name: &'static str,
}

impl<'de> EnumAccess<'de> for Variant<'_, '_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Refused> {
        let name = StrDeserializer::<Refused>::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'_, '_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Refused> {
        seed.deserialize(self.maker)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items {
            maker: self.maker,
            left: len,
        })
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_seq(Items {
            maker: self.maker,
            left: fields.len(),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Shape {
        Point,
        Circle(u32),
        Named { name: String, inner: Colour },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Colour {
        Red,
        Blue,
    }

    #[test]
    fn every_variant_occurs() {
        let made: Vec<(Shape, Colour)> = forms();
        let named = Shape::Named {
            name: "sample".into(),
            inner: Colour::Red,
        };
        let expected = [
            (Shape::Point, Colour::Red),
            (Shape::Circle(7), Colour::Red),
            (named, Colour::Red),
            (Shape::Point, Colour::Blue),
        ];
        assert_eq!(made.len(), expected.len(), "{made:?}");
        assert!(expected.iter().all(|form| made.contains(form)), "{made:?}");
    }

    #[test]
    fn what_is_checked_is_given_what_it_takes() {
        #[derive(Debug, Deserialize)]
        #[serde(try_from = "u64")]
        struct Hundred;

        impl TryFrom<u64> for Hundred {
            type Error = String;

            fn try_from(number: u64) -> Result<Self, String> {
                (number == 100).then_some(Self).ok_or_else(|| "no".into())
            }
        }

        let made: Vec<(u64, Hundred, [u8; 2])> = forms();
        assert_eq!((made[0].0, made[0].2), (7, [7, 7]));
    }
}
