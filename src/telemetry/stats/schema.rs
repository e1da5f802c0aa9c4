//! JSON schemas (draft 2020-12, as OpenAPI 3.1 has them) of what the `members!` tables declare.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

/// What a value of this type is in JSON.
pub(crate) trait Schema {
    /// Whether it may be `null`, or left out of its object.
    const IS_OPTIONAL: bool = false;

    /// Its schema, with those of what is in it.
    fn schema() -> Value;
}

/// The schema of an object with these members: name, meaning, schema, and whether it may be left out.
pub(crate) fn schema_of(members: &[(&str, &str, Value, bool)]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for (name, meaning, schema, is_optional) in members {
        let mut schema = schema.clone();
        schema["description"] = json!(meaning);
        properties.insert((*name).to_owned(), schema);
        if !is_optional {
            required.push(*name);
        }
    }
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

macro_rules! plain {
    ($($type:ty => $schema:tt),* $(,)?) => {$(
        impl Schema for $type {
            fn schema() -> Value {
                json!($schema)
            }
        }
    )*};
}

plain! {
    u64 => {"type": "integer", "minimum": 0},
    usize => {"type": "integer", "minimum": 0},
    u16 => {"type": "integer", "minimum": 0, "maximum": 65535},
    u32 => {"type": "integer", "minimum": 0},
    i64 => {"type": "integer"},
    bool => {"type": "boolean"},
    String => {"type": "string"},
    &'static str => {"type": "string"},
    crate::telemetry::Thousandths => {"type": "number", "minimum": 0},
}

impl<T: Schema> Schema for Option<T> {
    const IS_OPTIONAL: bool = true;

    fn schema() -> Value {
        let mut schema = T::schema();
        schema["type"] = json!([schema["type"], "null"]);
        schema
    }
}

impl<T: Schema> Schema for Vec<T> {
    fn schema() -> Value {
        json!({"type": "array", "items": T::schema()})
    }
}

impl<T: Schema> Schema for BTreeMap<String, T> {
    fn schema() -> Value {
        json!({"type": "object", "additionalProperties": T::schema()})
    }
}
