//! Changes a policy file as a person would: one decision, everything else as it stands.
//!
//! In: the file's text, a [`Change`]. Out: the new text; comments, order and other rules are kept.
//! Never: leaves two rules that decide the same service for the same people.
//! Limits: rules written as `[[rule]]`; others are refused.

use toml_edit::{Array, ArrayOfTables, Datetime, DocumentMut, Item, Table, Value, value};

/// A decision about one service.
#[derive(Clone, Debug, Default)]
pub struct Change {
    /// Service id.
    pub service: String,
    /// Word of the status.
    pub status: String,
    /// Who answers for it; `None` leaves it as it is.
    pub owner: Option<String>,
    /// Why; `None` leaves it as it is.
    pub reason: Option<String>,
    /// First day, `YYYY-MM-DD`; without it the decision holds for all of the past.
    pub decided: Option<String>,
    /// Last day; without it the decision does not end.
    pub expires: Option<String>,
    /// Whom it is for, by key of the rule: `networks`, `devices`, `users`, `groups`,
    /// `departments`.
    pub scope: Vec<(&'static str, String)>,
}

/// Keys that limit whom a rule is for.
const SCOPE: [&str; 5] = ["networks", "devices", "users", "groups", "departments"];

/// The text with the change in it.
///
/// # Errors
/// Why the file cannot be changed.
pub fn change(text: &str, change: &Change) -> Result<String, String> {
    let mut doc: DocumentMut = text.parse().map_err(|e: toml_edit::TomlError| e.to_string())?;
    let rules = doc.entry("rule").or_insert_with(|| Item::ArrayOfTables(ArrayOfTables::new()));
    let rules = rules
        .as_array_of_tables_mut()
        .ok_or("its rules are not written as [[rule]]: please make the change by hand")?;
    let mut own: Option<usize> = None;
    let mut gone: Vec<usize> = Vec::new();
    for (at, rule) in rules.iter_mut().enumerate() {
        if rule.contains_key("tenant") || !same_scope(rule, &change.scope) {
            continue;
        }
        match names(rule, &change.service) {
            Named::Not => {}
            Named::Alone if own.is_none() => own = Some(at),
            Named::Alone => gone.push(at),
            Named::AmongOthers => leave(rule, &change.service),
        }
    }
    match own.and_then(|at| rules.get_mut(at)) {
        Some(rule) => fill(rule, change),
        None => {
            let mut rule = Table::new();
            rule.insert("service", value(change.service.as_str()));
            fill(&mut rule, change);
            for key in SCOPE {
                let names: Array = change
                    .scope
                    .iter()
                    .filter(|(k, _)| *k == key)
                    .map(|(_, name)| name.as_str())
                    .collect();
                if !names.is_empty() {
                    rule.insert(key, value(names));
                }
            }
            if !text.is_empty() {
                rule.decor_mut().set_prefix("\n");
            }
            rules.push(rule);
        }
    }
    for at in gone.into_iter().rev() {
        rules.remove(at);
    }
    Ok(doc.to_string())
}

/// How a rule names a service.
enum Named {
    Not,
    Alone,
    AmongOthers,
}

fn names(rule: &Table, service: &str) -> Named {
    match rule.get("service") {
        Some(Item::Value(Value::String(id))) if id.value() == service => Named::Alone,
        Some(Item::Value(Value::Array(ids))) => {
            let among = ids.iter().any(|id| id.as_str() == Some(service));
            match (among, ids.len()) {
                (false, _) => Named::Not,
                (true, 1) => Named::Alone,
                (true, _) => Named::AmongOthers,
            }
        }
        _ => Named::Not,
    }
}

/// Takes a service out of a list.
fn leave(rule: &mut Table, service: &str) {
    if let Some(ids) = rule.get_mut("service").and_then(Item::as_array_mut) {
        ids.retain(|id| id.as_str() != Some(service));
        // What stood behind a comma before must not begin the list with a blank.
        if let Some(first) = ids.get_mut(0)
            && first.decor().prefix().and_then(|p| p.as_str()) == Some(" ")
        {
            first.decor_mut().set_prefix("");
        }
    }
}

fn same_scope(rule: &Table, scope: &[(&'static str, String)]) -> bool {
    SCOPE.iter().all(|key| {
        let mut wanted: Vec<String> =
            scope.iter().filter(|(k, _)| k == key).map(|(_, n)| n.to_lowercase()).collect();
        let mut found: Vec<String> = match rule.get(key) {
            Some(Item::Value(Value::String(name))) => vec![name.value().to_lowercase()],
            Some(Item::Value(Value::Array(names))) => {
                names.iter().filter_map(|n| n.as_str().map(str::to_lowercase)).collect()
            }
            _ => Vec::new(),
        };
        wanted.sort();
        found.sort();
        wanted == found
    })
}

fn fill(rule: &mut Table, change: &Change) {
    put(rule, "status", Some(Value::from(change.status.as_str())));
    for (key, text) in [("owner", &change.owner), ("reason", &change.reason)] {
        if let Some(text) = text {
            put(rule, key, Some(Value::from(text.as_str())));
        }
    }
    for (key, day) in [("decided", &change.decided), ("expires", &change.expires)] {
        let day = day.as_deref().map(|d| match d.parse::<Datetime>() {
            Ok(day) => Value::from(day),
            Err(_) => Value::from(d),
        });
        put(rule, key, day);
    }
}

/// Sets a key, its comments kept, or takes it away.
fn put(rule: &mut Table, key: &str, new: Option<Value>) {
    match (rule.get_mut(key).and_then(Item::as_value_mut), new) {
        (Some(old), Some(mut new)) => {
            *new.decor_mut() = old.decor().clone();
            *old = new;
        }
        (None, Some(new)) => {
            rule.insert(key, Item::Value(new));
        }
        (_, None) => {
            rule.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn approve(service: &str) -> Change {
        Change {
            service: service.to_owned(),
            status: "sanctioned".to_owned(),
            owner: Some("it".to_owned()),
            expires: Some("2027-03-31".to_owned()),
            ..Change::default()
        }
    }

    #[test]
    fn comments_and_order_stay() {
        let before = "# head\n[default]\nstatus = \"unreviewed\" # the list to work through\n\n\
                      # two at once\n[[rule]]\nservice = [\"deepseek\", \"deepseek-api\"] # both\n\
                      status = \"forbidden\"\n\n[[rule]] # the trial\nservice = \"claude\"\n\
                      status = \"tolerated\" # until autumn\nowner = \"platform\"\n\
                      decided = 2026-01-01\n\n# the end\n";
        let new = change(before, &approve("claude")).unwrap();
        for line in [
            "# head",
            "# the list to work through",
            "[[rule]] # the trial",
            "status = \"sanctioned\" # until autumn",
            "owner = \"it\"",
            "expires = 2027-03-31",
            "# the end",
            "[\"deepseek\", \"deepseek-api\"] # both",
        ] {
            assert!(new.contains(line), "{line} in\n{new}");
        }
        assert!(!new.contains("decided"), "{new}");
        let from_list = change(before, &approve("deepseek")).unwrap();
        assert!(from_list.contains("[\"deepseek-api\"] # both"), "{from_list}");
        assert_eq!(from_list.matches("[[rule]]").count(), 3);
        let parsed: toml::Table = from_list.parse().unwrap();
        assert_eq!(parsed["rule"].as_array().unwrap()[2]["service"].as_str(), Some("deepseek"));
    }

    #[test]
    fn a_second_decision_takes_the_place_of_the_first() {
        let once = change("", &approve("claude")).unwrap();
        let twice = change(&once, &approve("claude")).unwrap();
        assert_eq!(once, twice);
        let some =
            Change { scope: vec![("networks", "10.1.0.0/16".to_owned())], ..approve("claude") };
        let both = change(&once, &some).unwrap();
        assert_eq!(both.matches("[[rule]]").count(), 2, "{both}");
        assert!(both.contains("networks = [\"10.1.0.0/16\"]"), "{both}");
    }

    #[test]
    fn rules_of_another_shape_are_left_to_people() {
        assert!(change("rule = [{ service = \"x\" }]", &approve("claude")).is_err());
        assert!(change("not toml", &approve("claude")).is_err());
    }
}
