//! JSON of which no object, at any depth, names a member twice.
//!
//! Two readers of an object with a doubled member may each take another one for the truth; whoever checks a signature and
//! whoever reads what was signed must not differ, so such an object is refused.

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// Why a text was not taken.
#[derive(Debug, thiserror::Error)]
pub enum JsonFlaw {
    /// Longer than what may come here.
    #[error("it is {length} bytes long; at most {limit} are read")]
    Length {
        /// Its length.
        length: usize,
        /// The longest.
        limit: usize,
    },
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Form(#[from] serde_json::Error),
    /// Something else than an object.
    #[error("it is no object")]
    NoObject,
}

/// Reads one object of at most `limit` bytes.
///
/// # Errors
/// When it is longer, malformed, no object, or names a member twice.
pub fn object(bytes: &[u8], limit: usize) -> Result<Map<String, Value>, JsonFlaw> {
    if bytes.len() > limit {
        return Err(JsonFlaw::Length { length: bytes.len(), limit });
    }
    match serde_json::from_slice::<Strict>(bytes)?.0 {
        Value::Object(members) => Ok(members),
        _ => Err(JsonFlaw::NoObject),
    }
}

/// A value that was read so.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Reader).map(Self)
    }
}

struct Reader;

impl<'de> Visitor<'de> for Reader {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Number::from_f64(value).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut values = Vec::new();
        while let Some(Strict(value)) = list.next_element()? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut members = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            let Strict(value) = object.next_value()?;
            if members.contains_key(&name) {
                return Err(A::Error::custom("an object names a member twice"));
            }
            members.insert(name, value);
        }
        Ok(Value::Object(members))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_is_named_twice_is_refused_at_any_depth() {
        assert_eq!(object(br#"{"a":[1,{"b":null}],"c":1.5}"#, 99).unwrap().len(), 2);
        for text in [
            &br#"{"alg":"none","alg":"RS256"}"#[..],
            br#"{"a":{"b":1,"b":2}}"#,
            br#"{"a":[{"b":1,"b":1}]}"#,
            br#"{"a":1,"\u0061":2}"#,
        ] {
            let said = object(text, 99).unwrap_err().to_string();
            assert!(said.contains("twice"), "{said}");
        }
    }

    #[test]
    fn what_is_no_object_too_long_or_too_deep_is_refused() {
        for text in [&b"[]"[..], b"1", b"null", b"\"a\"", b"", b"{", b"{} {}", b"{\"a\":1,}"] {
            assert!(object(text, 99).is_err(), "{text:?}");
        }
        assert!(matches!(object(b"{}", 1), Err(JsonFlaw::Length { length: 2, limit: 1 })));
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
        assert!(object(deep.as_bytes(), 9999).is_err());
    }
}
