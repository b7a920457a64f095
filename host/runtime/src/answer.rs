//! Answers that only backends give, checked: `info` and `report`. The others are in `seawall_capability::convert`.

use seawall_backend::{Info, Interface};
use seawall_capability::convert::Refusal;
use seawall_model::{Report, is_deceptive, one_line};
use serde_json::Value;

use crate::bindings::wit;

const LONGEST_NAME: usize = 32;
const LONGEST_VERSION: usize = 64;
const LONGEST_DESCRIPTION: usize = 500;
const LARGEST_SCHEMA: usize = 256 << 10;
const MOST_ATTRIBUTES: usize = 64;
const LONGEST_ATTRIBUTE: usize = 1 << 10;

/// Who a plugin says it is.
///
/// # Errors
/// A name or version that nobody could write down, a description of more than a line, a schema that is no JSON object.
pub(crate) fn info(info: wit::Info, interfaces: Vec<Interface>) -> Result<Info, Refusal> {
    let name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if info.name.is_empty() || info.name.len() > LONGEST_NAME || !info.name.chars().all(name) {
        return Err(Refusal::new("info.name", "must be 1 to 32 characters of a-z 0-9 -"));
    }
    let version = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '+');
    if info.version.is_empty() || info.version.len() > LONGEST_VERSION || !info.version.chars().all(version) {
        return Err(Refusal::new("info.version", "must be a semantic version of at most 64 characters"));
    }
    if info.description.len() > LONGEST_DESCRIPTION || info.description.contains(is_deceptive) {
        return Err(Refusal::new("info.description", "must be one line of at most 500 bytes"));
    }
    schema("info.config-schema", &info.config_schema)?;
    schema("info.options-schema", &info.options_schema)?;
    Ok(Info {
        name: info.name,
        version: info.version,
        description: info.description,
        config_schema: info.config_schema,
        options_schema: info.options_schema,
        interfaces,
    })
}

/// Whether a text is a JSON Schema, as far as can be said without a validator: empty, or a JSON object.
fn schema(field: &str, text: &str) -> Result<(), Refusal> {
    if text.is_empty() {
        return Ok(());
    }
    if text.len() > LARGEST_SCHEMA {
        return Err(Refusal::new(field, "must have at most 256 KiB"));
    }
    match serde_json::from_str(text) {
        Ok(Value::Object(_)) => Ok(()),
        Ok(_) => Err(Refusal::new(field, "must be a JSON object")),
        Err(error) => Err(Refusal::new(field, format!("is no JSON: {error}"))),
    }
}

/// What `check` answers. Texts that are too long are cut: they are for people only.
pub(crate) fn report(report: wit::Report) -> Report {
    let attributes = report.attributes.into_iter().take(MOST_ATTRIBUTES);
    Report {
        version: one_line(report.version, LONGEST_VERSION),
        attributes: attributes
            .map(|(name, value)| (one_line(name, LONGEST_VERSION), one_line(value, LONGEST_ATTRIBUTE)))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(change: impl FnOnce(&mut wit::Info)) -> Result<Info, Refusal> {
        let mut given = wit::Info {
            name: "mock".to_owned(),
            version: "0.1.0".to_owned(),
            description: "Pretends.".to_owned(),
            config_schema: String::new(),
            options_schema: r#"{"type":"object"}"#.to_owned(),
        };
        change(&mut given);
        info(given, Vec::new())
    }

    #[test]
    fn a_description_is_believed_if_it_can_be_shown() {
        assert_eq!(described(|_| ()).unwrap().name, "mock");
        for (field, refused) in [
            ("info.name", described(|info| info.name = "My Plugin".to_owned())),
            ("info.name", described(|info| info.name.clear())),
            ("info.version", described(|info| info.version = "1.0\n".to_owned())),
            ("info.description", described(|info| info.description = "a\nb".to_owned())),
            ("info.config-schema", described(|info| info.config_schema = "[]".to_owned())),
            ("info.options-schema", described(|info| info.options_schema = "{".to_owned())),
        ] {
            assert_eq!(refused.unwrap_err().field, field);
        }
    }

    #[test]
    fn a_report_is_cut_and_not_refused() {
        let attributes = vec![("k".to_owned(), "v".repeat(1 << 20)); 1000];
        let report = report(wit::Report { version: "1\u{1b}".to_owned(), attributes });
        assert_eq!(report.attributes.len(), MOST_ATTRIBUTES);
        assert!(report.attributes[0].1.len() < LONGEST_ATTRIBUTE + 8);
        assert_eq!(report.version, "1\u{fffd}");
    }
}
