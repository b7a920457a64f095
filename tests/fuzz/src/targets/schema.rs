//! A plugin's own JSON Schema, and a value that is checked against it. The input is the schema, a zero, and the value.

use seawall::outside::problems;

use crate::{Run, Target};

pub(crate) const TARGET: Target =
    Target { name: "schema", longest: 4096, tries: 500, seeds, make: || Box::new(run) as Run };

fn seeds() -> Vec<Vec<u8>> {
    let schemas = [
        r#"{"type":"object","additionalProperties":false,"required":["a"],"properties":{"speed":{"type":"integer","minimum":1},"a":{"enum":["x","y"]}}}"#,
        r##"{"$defs":{"d":{"type":"string","pattern":"^a+$","minLength":2,"format":"duration"}},"properties":{"a":{"$ref":"#/$defs/d"},"b":{"anyOf":[{"type":"null"},{"const":1}]}}}"##,
        r#"{"patternProperties":{"^x":{"type":"number","multipleOf":0.5}},"propertyNames":{"maxLength":3},"dependentRequired":{"a":["b"]},"unevaluatedProperties":false}"#,
        r#"{"properties":{"l":{"type":"array","prefixItems":[{"type":"boolean"}],"items":{"type":"number"},"uniqueItems":true,"contains":{"const":1},"maxItems":3}},"if":{"required":["l"]},"then":{"minProperties":2},"else":false}"#,
        r##"{"$dynamicAnchor":"n","properties":{"child":{"$dynamicRef":"#n"}},"$id":"urn:x","oneOf":[{},{"not":{}}]}"##,
        r##"{"$ref":"#/$defs/a","$defs":{"a":{"allOf":[{"$ref":"#/$defs/b"},{"$ref":"#/$defs/b"}]},"b":{"pattern":"(a+)+$"}}}"##,
        "",
    ];
    let values =
        [r#"{"speed":"fast","a":"z","other":1}"#, r#"{"a":"b","b":2,"x1":0.3,"l":[1,1,1,1],"child":{"child":{}}}"#];
    schemas.iter().flat_map(|schema| values.map(|value| format!("{schema}\0{value}").into_bytes())).collect()
}

fn run(input: &[u8]) {
    let mut parts = input.splitn(2, |byte| *byte == 0);
    let (Some(schema), Some(value)) = (parts.next(), parts.next()) else { return };
    let (Ok(schema), Ok(value)) = (std::str::from_utf8(schema), serde_json::from_slice(value)) else { return };
    if let Ok(problems) = problems(schema, &value) {
        assert!(problems.len() <= 1000, "{} problems", problems.len());
        for problem in problems {
            assert!(problem.field.starts_with("options"), "{}", problem.field);
            assert!(problem.field.len() + problem.message.len() < 16 << 10, "{} bytes", problem.message.len());
        }
    }
}
