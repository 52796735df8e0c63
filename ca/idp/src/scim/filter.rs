//! Filters of one comparison, `userName eq "ana"` (RFC 7644 §3.4.2.2): what directories ask before they write.

use serde_json::Value;

use super::{Fault, KEPT_OF_GROUPS, KEPT_OF_USERS, MAX_TEXT, USER, bare};

/// What is looked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// In which attribute, as we write it.
    pub attribute: &'static str,
    /// Which value; `true` and `false` for a flag.
    pub value: String,
}

impl Filter {
    /// Reads a filter over users (`true`) or groups.
    ///
    /// # Errors
    /// When it is anything but one attribute, `eq` and a value.
    pub fn parse(text: &str, schema: &str) -> Result<Self, Fault> {
        let odd = || Fault::of("invalidFilter", "only `attribute eq \"value\"` is understood");
        if text.len() > MAX_FILTER {
            return Err(odd());
        }
        let (name, rest) = text.trim().split_once(' ').ok_or_else(odd)?;
        let (operator, value) = rest.trim_start().split_once(' ').ok_or_else(odd)?;
        if !operator.eq_ignore_ascii_case("eq") {
            return Err(odd());
        }
        // A value is JSON; whatever follows it (`and`, brackets) makes it none.
        let value = match serde_json::from_str(value.trim()).ok() {
            Some(Value::String(text)) if text.len() <= MAX_TEXT => text,
            Some(Value::Bool(flag)) => flag.to_string(),
            _ => return Err(odd()),
        };
        let known = if schema == USER { KEPT_OF_USERS } else { KEPT_OF_GROUPS };
        let name = bare(name);
        let known = known.iter().chain(&["id"]).find(|known| known.eq_ignore_ascii_case(name));
        match known {
            Some(attribute) if *attribute != "members" => Ok(Self { attribute, value }),
            _ => Err(Fault::of("invalidFilter", "this attribute cannot be looked for")),
        }
    }

    /// Reads one member that a path names, `members[value eq "4"]`.
    pub(super) fn member(path: &str) -> Option<u64> {
        let path = bare(path);
        let (name, rest) = path.split_once('[')?;
        let inside = rest.strip_suffix(']')?;
        let (what, rest) = inside.trim().split_once(' ')?;
        let (operator, value) = rest.trim_start().split_once(' ')?;
        let is_good = name.eq_ignore_ascii_case("members")
            && what.eq_ignore_ascii_case("value")
            && operator.eq_ignore_ascii_case("eq");
        let value: Value = serde_json::from_str(value.trim()).ok().filter(|_| is_good)?;
        super::id(value.as_str()?)
    }
}

/// Longest filter.
const MAX_FILTER: usize = 1_024;

#[cfg(test)]
mod tests {
    use super::super::GROUP;
    use super::*;

    #[test]
    fn one_comparison_is_read_and_nothing_else() {
        let of = |text: &str| Filter::parse(text, USER);
        let found = of("userName eq \"ana@example.com\"").unwrap();
        assert_eq!((found.attribute, found.value.as_str()), ("userName", "ana@example.com"));
        assert_eq!(of("USERNAME Eq \"a \\\"b\"").unwrap().value, "a \"b");
        assert_eq!(of(&format!("{USER}:externalId eq \"7\"")).unwrap().attribute, "externalId");
        assert_eq!(of("active eq true").unwrap().value, "true");
        for bad in [
            "",
            "userName",
            "userName eq",
            "userName eq ana",
            "userName ne \"a\"",
            "userName sw \"a\"",
            "userName eq \"a\" and active eq true",
            "(userName eq \"a\")",
            "userName pr",
            "shell eq \"a\"",
            "userName eq \"a\" or \"\"=\"",
            "userName eq 7",
            "emails.value eq \"a\"",
        ] {
            assert_eq!(of(bad).unwrap_err().kind, Some("invalidFilter"), "{bad}");
        }
        assert!(Filter::parse("members eq \"4\"", GROUP).is_err());
        assert!(Filter::parse("displayName eq \"sre\"", GROUP).is_ok());
    }

    #[test]
    fn a_path_names_one_member() {
        assert_eq!(Filter::member("members[value eq \"4\"]"), Some(4));
        assert_eq!(Filter::member(&format!("{GROUP}:members[Value EQ \"4\"]")), Some(4));
        for bad in [
            "members",
            "members[]",
            "members[value eq 4]",
            "members[value eq \"4\"].x",
            "members[type eq \"4\"]",
            "x[value eq \"4\"]",
        ] {
            assert_eq!(Filter::member(bad), None, "{bad}");
        }
    }
}
