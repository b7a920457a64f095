//! Text with fields in it, as in `docker ps --format`: `{{.Name}}`, `{{json .}}` for all of it, and `\t` and `\n` for a tab and a
//! line's end. Of Go's templates that is all there is: what is more is refused.

use crate::config::nearest;

/// A text with fields.
#[derive(Clone, Debug)]
pub(super) struct Template(Vec<Part>);

#[derive(Clone, Debug)]
enum Part {
    Text(String),
    Field(&'static str),
}

impl Template {
    /// Reads it; a field must be one of `known`.
    pub(super) fn parse(text: &str, known: &'static [&'static str]) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{{") {
            let Some((inside, after)) = after.split_once("}}") else {
                return Err("a {{ has no }}".to_owned());
            };
            let inside = inside.trim();
            // All of it; the field of this name is none that a dot begins.
            let name = match inside.strip_prefix("json").map(str::trim) {
                Some(".") => "json",
                _ => inside.strip_prefix('.').filter(|name| *name != "json").unwrap_or_default(),
            };
            let Some(field) = known.iter().find(|field| **field == name) else {
                let near = nearest(name, known.iter().copied()).map(|near| format!("; did you mean `{near}`?"));
                let near = near.unwrap_or_default();
                return Err(format!("there is no field {{{{{inside}}}}}{near} (known: {})", known.join(", ")));
            };
            parts.push(Part::Text(unescape(before)));
            parts.push(Part::Field(field));
            rest = after;
        }
        parts.push(Part::Text(unescape(rest)));
        if parts.len() < 2 {
            return Err("it names no field: write table, json, or text with fields such as {{.Name}}".to_owned());
        }
        Ok(Self(parts))
    }

    /// With a value for each field.
    pub(super) fn fill(&self, value: impl Fn(&str) -> String) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(field) => value(field),
        };
        self.0.iter().map(part).collect()
    }
}

fn unescape(text: &str) -> String {
    text.replace("\\t", "\t").replace("\\n", "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_template_is_refused() {
        for (text, said) in [
            ("{{.A", "no }}"),
            ("{{.B}}", "no field"),
            ("{{len .A}}", "no field"),
            ("{{.json}}", "no field"),
            ("x", "names no field"),
        ] {
            let wrong = Template::parse(text, &["A", "json"]).unwrap_err();
            assert!(wrong.contains(said), "{wrong}");
        }
        let filled = Template::parse("<{{.A}}\\t{{ .A }}>", &["A"]).unwrap().fill(|field| field.repeat(2));
        assert_eq!(filled, "<AA\tAA>");
        assert!(Template::parse("{{json .}}", &["A", "json"]).is_ok());
    }
}
