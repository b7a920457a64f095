//! Checks JSON against the schemas that plugins give of their configuration and of a session's options.

use jsonschema::Validator;
use jsonschema::error::ValidationErrorKind;
use seawall_model::Problem;
use serde_json::Value;

use crate::config::nearest;

/// A schema, ready to check with.
#[derive(Debug)]
pub(crate) struct Schema(Option<Schemed>);

#[derive(Debug)]
struct Schemed {
    validator: Validator,
    keys: Vec<String>,
}

impl Schema {
    /// From a plugin's own text. An empty one allows nothing but an empty object.
    ///
    /// # Errors
    /// It is no JSON Schema. References out of the document are refused: nothing is fetched.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let validator = jsonschema::draft202012::new(&schema).map_err(|error| error.to_string())?;
        let keys = schema.get("properties").and_then(Value::as_object);
        let keys = keys.map(|keys| keys.keys().cloned().collect()).unwrap_or_default();
        Ok(Self(Some(Schemed { validator, keys })))
    }

    /// What is wrong with a value; `root` is what it is called.
    pub(crate) fn problems(&self, root: &str, value: &Value) -> Vec<Problem> {
        match &self.0 {
            Some(schema) => {
                schema.validator.iter_errors(value).take(MOST).flat_map(|e| schema.told(root, &e)).collect()
            }
            None => {
                let keys = value.as_object().into_iter().flat_map(serde_json::Map::keys);
                let message = "this backend's plugin knows no such setting, nor any other";
                keys.take(MOST).map(|key| problem(format!("{root}.{}", short(key)), message)).collect()
            }
        }
    }
}

/// More problems than this help nobody.
const MOST: usize = 20;

impl Schemed {
    fn told(&self, root: &str, error: &jsonschema::ValidationError<'_>) -> Vec<Problem> {
        let mut field = root.to_owned();
        for part in error.instance_path().as_str().split('/').skip(1) {
            if part.bytes().all(|byte| byte.is_ascii_digit()) {
                field.push_str(&format!("[{part}]"));
            } else {
                field.push_str(&format!(".{}", short(&part.replace("~1", "/").replace("~0", "~"))));
            }
        }
        match error.kind() {
            ValidationErrorKind::AdditionalProperties { unexpected } => {
                let unknown = |key: &String| {
                    let known = self.keys.iter().map(String::as_str);
                    let hint = match nearest(key, known) {
                        Some(near) if field == root => format!("there is no such setting; did you mean `{near}`?"),
                        _ if field == root && !self.keys.is_empty() => {
                            format!("there is no such setting (known: {})", self.keys.join(", "))
                        }
                        _ => "there is no such setting".to_owned(),
                    };
                    problem(format!("{field}.{}", short(key)), hint)
                };
                unexpected.iter().map(unknown).collect()
            }
            _ => vec![problem(field, short(&error.to_string()))],
        }
    }
}

fn problem(field: String, message: impl Into<String>) -> Problem {
    Problem { field, message: message.into() }
}

/// What a user wrote may be long; an answer is not.
fn short(text: &str) -> String {
    text.chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEMA: &str = r#"{"type": "object", "additionalProperties": false, "properties": {
        "privileged": {"type": "boolean"}, "entrypoint": {"type": "array", "items": {"type": "string"}}}}"#;

    fn told(schema: &str, value: Value) -> Vec<String> {
        let problems = Schema::new(schema).unwrap().problems("options", &value);
        problems.into_iter().map(|problem| format!("{}: {}", problem.field, problem.message)).collect()
    }

    #[test]
    fn each_field_at_fault_is_named() {
        let value = serde_json::json!({"priviledged": true, "x": 1, "entrypoint": ["a", 2]});
        insta::assert_snapshot!(told(SCHEMA, value).join("\n"));
        assert!(told(SCHEMA, serde_json::json!({"privileged": true})).is_empty());
    }

    #[test]
    fn a_plugin_without_a_schema_takes_nothing() {
        assert!(told("", serde_json::json!({})).is_empty());
        assert!(told("", serde_json::json!({"a": 1}))[0].starts_with("options.a: "));
    }

    #[test]
    fn a_schema_that_is_none_or_looks_outside_is_refused() {
        for bad in ["{", r#"{"type": 3}"#, r#"{"$ref": "file:///etc/passwd"}"#, r#"{"$ref": "http://localhost/s"}"#] {
            assert!(Schema::new(bad).is_err(), "{bad}");
        }
    }
}
