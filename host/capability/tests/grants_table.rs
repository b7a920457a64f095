//! The table of grants in the model names what the grants take, and nothing else.

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use seawall_capability::Grants;
    use seawall_model::table::GRANTS;

    /// The names that a table of the grants knows, as it tells who writes another.
    fn known(table: &str) -> BTreeSet<String> {
        let json = serde_json::json!({table: {"no-such-key": 1}});
        let error = serde_json::from_value::<Grants>(json).unwrap_err().to_string();
        let (_, names) = error.split_once("expected").unwrap_or_else(|| panic!("{error}"));
        names.split('`').skip(1).step_by(2).map(|name| format!("{table}.{name}")).collect()
    }

    #[test]
    fn every_key_of_the_grants_is_in_the_table_and_no_other() {
        let listed: BTreeSet<_> = GRANTS.iter().map(|[path, ..]| (*path).to_owned()).collect();
        let known: BTreeSet<_> = ["state", "docker", "process"].into_iter().flat_map(known).collect();
        assert_eq!(listed, known);
    }
}
