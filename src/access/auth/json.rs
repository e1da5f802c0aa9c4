//! JSON of a peer, read strictly: a member name occurs once in its object, and depth and number of values are limited.
//!
//! `serde_json` reads the text; its own map would take the last of two members of one name, and another reader of
//! the same token the first.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use thiserror::Error as ThisError;

/// Nested objects and lists, one in another.
const MAX_DEPTH: usize = 8;

/// Members of one object: each is compared with those before it.
const MAX_MEMBERS: usize = 128;

/// A value.
#[derive(Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Flag(bool),
    Integer(i128),
    Fraction(f64),
    Text(Box<str>),
    List(Vec<Json>),
    Object(Vec<(Box<str>, Json)>),
}

/// Why a text is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ThisError)]
pub enum JsonError {
    /// Not JSON (RFC 8259), nested deeper than 8 levels, with too many values or members, or with a member twice.
    #[error("not JSON, or JSON with a member twice, with too many values or nested too deep")]
    Refused,
    /// Another value than an object.
    #[error("not a JSON object")]
    NotAnObject,
}

/// An object, by the names of its members.
#[derive(Debug, PartialEq)]
pub(super) struct Object(Vec<(Box<str>, Json)>);

impl Object {
    /// Reads an object with at most `max_values` values in it, at any depth.
    pub(super) fn parse(text: &[u8], max_values: usize) -> Result<Object, JsonError> {
        let left = Cell::new(max_values);
        let mut reader = serde_json::Deserializer::from_slice(text);
        let value = Value {
            left: &left,
            depth: MAX_DEPTH,
        };
        let value = value.deserialize(&mut reader);
        match value.and_then(|value| reader.end().map(|()| value)) {
            Ok(Json::Object(members)) => Ok(Object(members)),
            Ok(_) => Err(JsonError::NotAnObject),
            Err(_) => Err(JsonError::Refused),
        }
    }

    /// The value of a member.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        member(&self.0, name)
    }

    /// The members in their order.
    pub(super) fn members(&self) -> impl Iterator<Item = (&str, &Json)> {
        self.0.iter().map(|(name, value)| (&**name, value))
    }
}

impl Json {
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The member of an object.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => member(members, name),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Json]> {
        match self {
            Json::List(items) => Some(items),
            _ => None,
        }
    }
}

fn member<'a>(members: &'a [(Box<str>, Json)], name: &str) -> Option<&'a Json> {
    let mut members = members.iter();
    members
        .find(|(other, _)| **other == *name)
        .map(|(_, value)| value)
}

/// Reads one value, out of those that are left.
#[derive(Clone, Copy)]
struct Value<'a> {
    left: &'a Cell<usize>,
    depth: usize,
}

impl Value<'_> {
    fn take<E: Error>(self) -> Result<(), E> {
        let left = self.left.get().checked_sub(1);
        self.left.set(left.ok_or_else(|| E::custom("too many"))?);
        Ok(())
    }

    fn below<E: Error>(self) -> Result<Self, E> {
        let depth = self.depth.checked_sub(1);
        Ok(Self {
            depth: depth.ok_or_else(|| E::custom("too deep"))?,
            ..self
        })
    }
}

impl<'de> DeserializeSeed<'de> for Value<'_> {
    type Value = Json;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Json, D::Error> {
        self.take()?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Value<'_> {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Flag(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Fraction(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Json::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Json, A::Error> {
        let below = self.below()?;
        let mut members: Vec<(Box<str>, Json)> = Vec::new();
        while let Some(name) = entries.next_key::<Box<str>>()? {
            if members.len() == MAX_MEMBERS || member(&members, &name).is_some() {
                return Err(A::Error::custom("twice, or too many"));
            }
            let value = entries.next_value_seed(below)?;
            members.push((name, value));
        }
        Ok(Json::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Object, JsonError> {
        Object::parse(text.as_bytes(), 16)
    }

    #[test]
    fn values() {
        let object = parse(
            r#"{"a":"x\u00e4","b":[1,-2,1.5,true,null],"c":{"d":""},"e":18446744073709551615}"#,
        )
        .unwrap();
        assert_eq!(object.get("a").and_then(Json::text), Some("xä"));
        let list = object.get("b").and_then(Json::list).unwrap();
        let expected = [
            Json::Integer(1),
            Json::Integer(-2),
            Json::Fraction(1.5),
            Json::Flag(true),
            Json::Null,
        ];
        assert_eq!(list, expected);
        let inner = object.get("c").and_then(|c| c.get("d"));
        assert_eq!(inner.and_then(Json::text), Some(""));
        assert_eq!(object.get("e"), Some(&Json::Integer(u64::MAX.into())));
        assert_eq!(object.get("f"), None);
        assert_eq!(object.members().count(), 4);
    }

    #[test]
    fn what_two_readers_may_read_differently_is_refused() {
        let deep =
            |levels: usize| format!("{{\"a\":{}{}}}", "[".repeat(levels), "]".repeat(levels));
        assert!(parse(&deep(7)).is_ok());
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"{"x":{"a":1,"b":2,"a":3}}"#,
            r#"{"a":1}{"#,
            r#"{"a":1} x"#,
            r#"{"a":"\ud800"}"#,
            r#"{"a":NaN}"#,
            r#"{"a":01}"#,
            r#"{"a":1,}"#,
            r#"{'a':1}"#,
            "{\"a\":\"\n\"}",
            "\u{feff}{}",
            "",
            &deep(8),
            &deep(100_000),
            &format!("{{\"a\":[{}]}}", ["1"; 15].join(",")),
        ] {
            assert_eq!(parse(text), Err(JsonError::Refused), "{text:.60}");
        }
        assert_eq!(
            Object::parse(b"{\"a\":\"\xff\"}", 16),
            Err(JsonError::Refused)
        );
        for text in ["[]", "1", "null", "\"{}\""] {
            assert_eq!(parse(text), Err(JsonError::NotAnObject), "{text}");
        }
    }
}
