//! Checks JSON against the schemas that plugins give of their configuration and of a session's options.
//!
//! A schema is a plugin's own, and checking costs the daemon's time, not the plugin's fuel. So it must be one that ends:
//! references lead to a place in the same document by its path, and never back to where they come from; with every
//! reference replaced by what it refers to, it has a bounded number of values; patterns are of the kind that is matched
//! in linear time, small, and few. Nothing is ever fetched.

use std::collections::HashMap;

use jsonschema::error::ValidationErrorKind;
use jsonschema::{PatternOptions, Validator};
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
    /// It is no JSON Schema, or none that ends.
    pub(crate) fn new(text: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
        Bounds::check(&schema)?;
        let patterns = PatternOptions::regex().size_limit(PATTERN_SIZE).dfa_size_limit(PATTERN_SIZE);
        let options = jsonschema::draft202012::options().with_pattern_options(patterns);
        let validator = options.build(&schema).map_err(|error| short(&error.to_string()))?;
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

/// The most values of a schema whose references were all replaced by what they refer to.
const MOST_VALUES: usize = 5000;
/// The most values within each other, so counted: checking goes as deep.
const MOST_DEPTH: usize = 100;
/// The most patterns, each time that one is met.
const MOST_PATTERNS: usize = 100;
/// Bytes of one pattern, compiled.
const PATTERN_SIZE: usize = 256 << 10;
/// They refer to what is only known while a value is checked, or change what other references mean.
const REFUSED: [&str; 6] = ["$dynamicRef", "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor", "$anchor", "$id"];

/// What a schema comes to.
#[derive(Clone, Copy, Default)]
struct Cost {
    values: usize,
    patterns: usize,
    /// How far down it goes.
    depth: usize,
}

/// Counts what a schema costs. What is referred to is counted once and added each time.
struct Bounds<'a> {
    schema: &'a Value,
    /// `None` while it is being counted: whoever meets it then goes round in a circle.
    counted: HashMap<&'a str, Option<Cost>>,
    /// How far down the counting is.
    depth: usize,
}

impl<'a> Bounds<'a> {
    fn check(schema: &'a Value) -> Result<(), String> {
        Bounds { schema, counted: HashMap::from([("#", None)]), depth: 0 }.count(schema).map(drop)
    }

    fn count(&mut self, value: &'a Value) -> Result<Cost, String> {
        self.depth += 1;
        let cost = if self.depth > MOST_DEPTH { Err(too_deep()) } else { self.count_parts(value) };
        self.depth -= 1;
        let cost = cost?;
        if cost.depth >= MOST_DEPTH { Err(too_deep()) } else { Ok(Cost { depth: cost.depth + 1, ..cost }) }
    }

    /// A value, its depth being that of its parts.
    fn count_parts(&mut self, value: &'a Value) -> Result<Cost, String> {
        let mut cost = Cost { values: 1, ..Cost::default() };
        match value {
            Value::Array(items) => {
                for item in items {
                    cost = cost.plus(self.count(item)?)?;
                }
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    cost = cost.plus(self.count(value)?)?;
                    let added = match (name.as_str(), value) {
                        ("$ref", Value::String(to)) => self.follow(to)?,
                        ("pattern", Value::String(_)) => Cost { patterns: 1, ..Cost::default() },
                        ("patternProperties", Value::Object(patterns)) => {
                            Cost { patterns: patterns.len(), ..Cost::default() }
                        }
                        (name, Value::String(_) | Value::Bool(_)) if REFUSED.contains(&name) => {
                            return Err(format!(
                                "`{name}` is not taken: refer to a place by its path, as in `#/$defs/it`"
                            ));
                        }
                        _ => Cost::default(),
                    };
                    cost = cost.plus(added)?;
                }
            }
            _ => {}
        }
        Ok(cost)
    }

    fn follow(&mut self, to: &'a str) -> Result<Cost, String> {
        match self.counted.get(to) {
            Some(Some(cost)) => return Ok(*cost),
            Some(None) => return Err(format!("the reference {:?} leads back to itself", short(to))),
            None => {}
        }
        let place = to.strip_prefix('#').filter(|path| path.starts_with('/'));
        let Some(target) = place.and_then(|path| self.schema.pointer(path)) else {
            return Err(format!("the reference {:?} leads to no place in this schema", short(to)));
        };
        self.counted.insert(to, None);
        let cost = self.count(target)?;
        self.counted.insert(to, Some(cost));
        Ok(cost)
    }
}

impl Cost {
    fn plus(self, other: Self) -> Result<Self, String> {
        let sum = Self {
            values: self.values + other.values,
            patterns: self.patterns + other.patterns,
            depth: self.depth.max(other.depth),
        };
        if sum.values > MOST_VALUES {
            return Err(format!("it comes to more than {MOST_VALUES} values, with its references followed"));
        }
        if sum.patterns > MOST_PATTERNS {
            return Err(format!("it comes to more than {MOST_PATTERNS} patterns, with its references followed"));
        }
        Ok(sum)
    }
}

fn too_deep() -> String {
    format!("it has more than {MOST_DEPTH} values within each other, with its references followed")
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

    fn refused(schema: Value) -> String {
        Schema::new(&schema.to_string()).unwrap_err()
    }

    #[test]
    fn a_schema_that_is_none_or_looks_outside_is_refused() {
        for bad in ["{", r#"{"type": 3}"#, r#"{"$ref": "file:///etc/passwd"}"#, r#"{"$ref": "http://localhost/s"}"#] {
            assert!(Schema::new(bad).is_err(), "{bad}");
        }
        assert!(refused(serde_json::json!({"$ref": "//localhost/s"})).contains("no place in this schema"));
        assert!(refused(serde_json::json!({"$id": "http://localhost/s"})).contains("`$id` is not taken"));
        assert!(refused(serde_json::json!({"$ref": "#/$defs/none"})).contains("no place in this schema"));
    }

    #[test]
    fn a_schema_that_refers_to_itself_is_refused() {
        for schema in [
            serde_json::json!({"$ref": "#"}),
            serde_json::json!({"$ref": "#/"}),
            serde_json::json!({"properties": {"a": {"$ref": "#/properties/a"}}}),
            serde_json::json!({"properties": {"a": {"$ref": "#/properties"}}}),
            serde_json::json!({"$defs": {"a": {"allOf": [{"$ref": "#/$defs/b"}]}, "b": {"not": {"$ref": "#/$defs/a"}}}}),
        ] {
            let said = refused(schema);
            assert!(said.contains("back to itself") || said.contains("no place"), "{said}");
        }
        for name in ["$dynamicRef", "$recursiveRef", "$anchor"] {
            assert!(refused(serde_json::json!({name: "#"})).contains("is not taken"), "{name}");
        }
        // Twice is no circle, and a property may have any name.
        let twice = serde_json::json!({"type": "object", "$defs": {"size": {"type": "integer"}}, "properties": {
            "a": {"$ref": "#/$defs/size"}, "b": {"$ref": "#/$defs/size"}, "$ref": {"$ref": "#/$defs/size"}}});
        assert_eq!(told(&twice.to_string(), serde_json::json!({"a": 1, "b": "x"})).len(), 1);
    }

    #[test]
    fn a_schema_that_grows_when_its_references_are_followed_is_refused() {
        let doubling = |levels: usize| {
            let mut defs = serde_json::Map::new();
            defs.insert("l0".to_owned(), serde_json::json!({"type": "string"}));
            for level in 1..=levels {
                let below = format!("#/$defs/l{}", level - 1);
                defs.insert(format!("l{level}"), serde_json::json!({"anyOf": [{"$ref": below}, {"$ref": below}]}));
            }
            serde_json::json!({"$defs": defs, "$ref": format!("#/$defs/l{levels}")})
        };
        // Each level is somewhat more than twice the one below.
        assert!(Schema::new(&doubling(6).to_string()).is_ok());
        for levels in [12, 40] {
            assert!(refused(doubling(levels)).contains("more than 5000 values"), "{levels}");
        }
        let chain = |length: usize| {
            let link =
                |n: usize| (format!("l{n:04}"), serde_json::json!({"not": {"$ref": format!("#/$defs/l{:04}", n + 1)}}));
            let mut defs: serde_json::Map<_, _> = (0..length).map(link).collect();
            defs.insert(format!("l{length:04}"), Value::Bool(true));
            serde_json::json!({"$defs": defs})
        };
        assert!(Schema::new(&chain(45).to_string()).is_ok());
        for length in [60, 3000] {
            assert!(refused(chain(length)).contains("more than 100 values within each other"), "{length}");
        }
        let wide = |values: usize| serde_json::json!({"enum": (0..values).collect::<Vec<_>>()});
        assert!(Schema::new(&wide(4990).to_string()).is_ok());
        assert!(refused(wide(5000)).contains("more than 5000 values"));
    }

    #[test]
    fn patterns_are_small_few_and_of_the_kind_that_ends() {
        let pattern = |pattern: &str| serde_json::json!({"properties": {"a": {"pattern": pattern}}});
        // What a matcher that tries one way after the other would not come back from in a lifetime.
        let evil = pattern("^(a+)+(b+)+$").to_string();
        assert_eq!(told(&evil, serde_json::json!({"a": "a".repeat(50_000)})).len(), 1);
        assert!(told(&evil, serde_json::json!({"a": "aaab"})).is_empty());
        for huge in ["((a{100}){100}){100}", "(?<!x)a", r"(a)\1"] {
            assert!(Schema::new(&pattern(huge).to_string()).is_err(), "{huge}");
        }
        let many = |patterns: usize| {
            let all: serde_json::Map<_, _> = (0..patterns).map(|n| (format!("^a{n}$"), Value::Bool(true))).collect();
            serde_json::json!({"patternProperties": all})
        };
        assert!(Schema::new(&many(100).to_string()).is_ok());
        assert!(refused(many(101)).contains("more than 100 patterns"));
    }
}
