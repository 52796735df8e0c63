//! What a directory sends over SCIM 2.0 (RFC 7643, 7644), as far as access needs it: users with a name and whether they are
//! active, groups with their members.
//!
//! What else a directory knows of people (mail, phones, managers) is taken and dropped: nobody here needs it, and what is
//! not kept cannot leak. What is no attribute of SCIM's at all is refused.

use serde_json::{Map, Value, json};

use crate::json::{self, JsonFlaw};

pub mod about;
mod filter;
mod patch;

pub use filter::Filter;
pub use patch::{GroupPatch, MembersPatch, UserPatch};

/// A user as a directory writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// What the person is called here.
    pub user_name: String,
    /// What the directory calls them.
    pub external: Option<String>,
    /// How they are shown.
    pub display: Option<String>,
    /// Whether they may have access; they may where a directory does not say.
    pub active: bool,
}

/// A group as a directory writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    /// What it is called.
    pub display: String,
    /// What the directory calls it.
    pub external: Option<String>,
    /// The ids of its members.
    pub members: Vec<u64>,
}

/// Why something is not done, as a directory is told (RFC 7644 §3.12).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The HTTP status.
    pub status: u16,
    /// The kind, where there is one.
    pub kind: Option<&'static str>,
    /// What is wrong.
    pub detail: String,
}

impl Fault {
    /// A request that makes no sense.
    pub(crate) fn of(kind: &'static str, detail: impl Into<String>) -> Self {
        Self { status: 400, kind: Some(kind), detail: detail.into() }
    }

    /// A value that cannot be taken.
    #[must_use]
    pub fn value(detail: impl Into<String>) -> Self {
        Self::of("invalidValue", detail)
    }

    /// It is there already.
    #[must_use]
    pub fn taken(detail: impl Into<String>) -> Self {
        Self { status: 409, kind: Some("uniqueness"), detail: detail.into() }
    }

    /// It is not there.
    #[must_use]
    pub fn absent() -> Self {
        Self { status: 404, kind: None, detail: "there is no such resource".into() }
    }

    /// It cannot be changed.
    #[must_use]
    pub fn fixed(detail: impl Into<String>) -> Self {
        Self::of("mutability", detail)
    }

    /// As it is sent.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut error = json!({
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:Error"],
            "status": self.status.to_string(),
            "detail": self.detail,
        });
        if let (Some(kind), Some(members)) = (self.kind, error.as_object_mut()) {
            members.insert("scimType".into(), kind.into());
        }
        error
    }
}

impl From<JsonFlaw> for Fault {
    fn from(flaw: JsonFlaw) -> Self {
        Self::of("invalidSyntax", flaw.to_string())
    }
}

impl User {
    /// Reads a user that is to be, or to be in place of another.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let members = resource(bytes, USER)?;
        let mut user =
            Self { user_name: String::new(), external: None, display: None, active: true };
        for (name, value) in &members {
            match attribute(name, USER)? {
                Attribute::Kept("userName") => user.user_name = word(name, value)?,
                Attribute::Kept("externalId") => user.external = maybe(name, value)?,
                Attribute::Kept("displayName") => user.display = maybe(name, value)?,
                Attribute::Kept(_) => user.active = flag(name, value)?,
                Attribute::Dropped => {}
            }
        }
        if user.user_name.is_empty() {
            return Err(Fault::value("userName is missing"));
        }
        Ok(user)
    }

    /// As it is sent.
    #[must_use]
    pub fn to_json(&self, (id, base, changed): (u64, &str, &str)) -> Map<String, Value> {
        let mut sent = head(USER, (id, &format!("{base}/Users/{id}"), "User", changed));
        sent.insert("userName".into(), self.user_name.clone().into());
        sent.insert("active".into(), self.active.into());
        let texts = [("externalId", &self.external), ("displayName", &self.display)];
        for (name, text) in texts {
            if let Some(text) = text {
                sent.insert(name.into(), text.clone().into());
            }
        }
        sent
    }
}

impl Group {
    /// Reads a group that is to be, or to be in place of another.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let members = resource(bytes, GROUP)?;
        let mut group = Self { display: String::new(), external: None, members: Vec::new() };
        for (name, value) in &members {
            match attribute(name, GROUP)? {
                Attribute::Kept("displayName") => group.display = word(name, value)?,
                Attribute::Kept("externalId") => group.external = maybe(name, value)?,
                Attribute::Kept(_) => group.members = ids(value)?,
                Attribute::Dropped => {}
            }
        }
        if group.display.is_empty() {
            return Err(Fault::value("displayName is missing"));
        }
        Ok(group)
    }

    /// As it is sent.
    #[must_use]
    pub fn to_json(&self, (id, base, changed): (u64, &str, &str)) -> Map<String, Value> {
        let mut sent = head(GROUP, (id, &format!("{base}/Groups/{id}"), "Group", changed));
        sent.insert("displayName".into(), self.display.clone().into());
        if let Some(external) = &self.external {
            sent.insert("externalId".into(), external.clone().into());
        }
        if !self.members.is_empty() {
            let member = |id: &u64| {
                json!({
                    "value": id.to_string(),
                    "$ref": format!("{base}/Users/{id}"),
                    "type": "User",
                })
            };
            sent.insert("members".into(), self.members.iter().map(member).collect());
        }
        sent
    }
}

/// Which attributes of a resource an answer is to have.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    only: Option<Vec<String>>,
    without: Vec<String>,
}

impl Wanted {
    /// From the two parameters of a request.
    ///
    /// # Errors
    /// When both are given, or one is longer than any.
    pub fn parse(only: Option<&str>, without: Option<&str>) -> Result<Self, Fault> {
        let list = |text: &str| -> Result<Vec<String>, Fault> {
            if text.len() > MAX_TEXT {
                return Err(Fault::value("the list of attributes is too long"));
            }
            let short = |name: &str| bare(name.trim()).to_ascii_lowercase();
            Ok(text.split(',').map(short).filter(|name| !name.is_empty()).collect())
        };
        match (only, without) {
            (Some(_), Some(_)) => {
                Err(Fault::value("attributes and excludedAttributes exclude one another"))
            }
            (only, without) => Ok(Self {
                only: only.map(list).transpose()?,
                without: without.map(list).transpose()?.unwrap_or_default(),
            }),
        }
    }

    /// Leaves out what is not wanted; the id and the schema always stay.
    #[must_use]
    pub fn of(&self, mut sent: Map<String, Value>) -> Value {
        let is_named = |list: &[String], name: &str| {
            list.iter().any(|one| {
                let whole = one.split('.').next().unwrap_or(one);
                whole.eq_ignore_ascii_case(name)
            })
        };
        sent.retain(|name, _| {
            name == "id"
                || name == "schemas"
                || (self.only.as_ref().is_none_or(|only| is_named(only, name))
                    && !is_named(&self.without, name))
        });
        Value::Object(sent)
    }
}

/// A page of a list (RFC 7644 §3.4.2).
#[must_use]
pub fn list(total: usize, start: usize, resources: Vec<Value>) -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
        "totalResults": total,
        "startIndex": start,
        "itemsPerPage": resources.len(),
        "Resources": resources,
    })
}

fn head(
    schema: &str,
    (id, location, kind, changed): (u64, &str, &str, &str),
) -> Map<String, Value> {
    let mut sent = Map::new();
    sent.insert("schemas".into(), json!([schema]));
    sent.insert("id".into(), id.to_string().into());
    let meta = json!({ "resourceType": kind, "location": location, "lastModified": changed });
    sent.insert("meta".into(), meta);
    sent
}

/// The members of a resource that says to be of this schema.
fn resource(bytes: &[u8], schema: &str) -> Result<Map<String, Value>, Fault> {
    let members = json::object(bytes, MAX_BODY)?;
    let said = members.get("schemas").and_then(Value::as_array);
    let is_said = |list: &Vec<Value>| {
        list.iter().any(|one| one.as_str().is_some_and(|one| one.eq_ignore_ascii_case(schema)))
    };
    if said.is_some_and(is_said) {
        Ok(members)
    } else {
        Err(Fault::of("invalidSyntax", format!("schemas does not name {schema}")))
    }
}

/// What becomes of an attribute.
enum Attribute {
    /// It is kept, under this name.
    Kept(&'static str),
    /// SCIM knows it, and nobody here needs it.
    Dropped,
}

/// The attribute of this name; letters do not count, and it may be written with its schema before it.
fn attribute(name: &str, schema: &str) -> Result<Attribute, Fault> {
    let is_of_another = |name: &str| {
        let has = |other: &&str| {
            name.len() >= other.len()
                && name.is_char_boundary(other.len())
                && name.split_at(other.len()).0.eq_ignore_ascii_case(other)
        };
        [EXTENSION].iter().any(has)
    };
    if is_of_another(name) {
        return Ok(Attribute::Dropped);
    }
    let short = of_schema(name, schema);
    let kept = if schema == USER { KEPT_OF_USERS } else { KEPT_OF_GROUPS };
    if let Some(known) = kept.iter().find(|known| known.eq_ignore_ascii_case(short)) {
        return Ok(Attribute::Kept(known));
    }
    let whole = short.split(['.', '[']).next().unwrap_or(short);
    let is_known = DROPPED.iter().any(|known| known.eq_ignore_ascii_case(whole));
    if is_known {
        Ok(Attribute::Dropped)
    } else {
        let shown: String = name.chars().filter(char::is_ascii_graphic).take(64).collect();
        Err(Fault::of("invalidPath", format!("there is no attribute {shown:?}")))
    }
}

/// A name without the schema before it.
fn bare(name: &str) -> &str {
    of_schema(of_schema(name, USER), GROUP)
}

fn of_schema<'a>(name: &'a str, schema: &str) -> &'a str {
    match name.split_at_checked(schema.len()) {
        Some((before, after)) if before.eq_ignore_ascii_case(schema) => {
            after.strip_prefix(':').unwrap_or(name)
        }
        _ => name,
    }
}

/// A text that must be there.
fn word(name: &str, value: &Value) -> Result<String, Fault> {
    let text = value.as_str().filter(|text| !text.is_empty() && text.len() <= MAX_TEXT);
    let text =
        text.ok_or_else(|| Fault::value(format!("{} is no text of its length", bare(name))))?;
    if text.chars().any(char::is_control) {
        return Err(Fault::value(format!("{} holds a control character", bare(name))));
    }
    Ok(text.to_owned())
}

/// A text that may be absent.
fn maybe(name: &str, value: &Value) -> Result<Option<String>, Fault> {
    match value {
        Value::Null => Ok(None),
        other => word(name, other).map(Some),
    }
}

/// A flag; some directories send it as a word.
fn flag(name: &str, value: &Value) -> Result<bool, Fault> {
    match value {
        Value::Bool(flag) => Ok(*flag),
        Value::String(word) if word.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(word) if word.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(Fault::value(format!("{} is neither true nor false", bare(name)))),
    }
}

/// The ids of members: a list of objects, or one of them.
fn ids(value: &Value) -> Result<Vec<u64>, Fault> {
    let list = match value {
        Value::Null => return Ok(Vec::new()),
        Value::Array(list) => list.as_slice(),
        one => std::slice::from_ref(one),
    };
    if list.len() > MAX_MEMBERS {
        return Err(Fault::value(format!("a group has at most {MAX_MEMBERS} members")));
    }
    let mut ids = Vec::with_capacity(list.len());
    for one in list {
        let text = match one {
            Value::Object(member) => member.get("value").and_then(Value::as_str),
            Value::String(text) => Some(text.as_str()),
            _ => None,
        };
        let id = text.and_then(id).ok_or_else(|| Fault::value("a member's value is no id"))?;
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    Ok(ids)
}

/// An id as we give it out: a number without anything around it.
#[must_use]
pub fn id(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|id: &u64| is_plain && id.to_string() == text)
}

/// The schema of users.
pub const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
/// The schema of groups.
pub const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
const EXTENSION: &str = "urn:ietf:params:scim:schemas:extension:";
const KEPT_OF_USERS: &[&str] = &["userName", "externalId", "displayName", "active"];
const KEPT_OF_GROUPS: &[&str] = &["displayName", "externalId", "members"];
/// What RFC 7643 knows of users and groups beside that, and what stands in every resource.
const DROPPED: &[&str] = &[
    "schemas",
    "id",
    "meta",
    "name",
    "nickName",
    "profileUrl",
    "title",
    "userType",
    "preferredLanguage",
    "locale",
    "timezone",
    "password",
    "emails",
    "phoneNumbers",
    "ims",
    "photos",
    "addresses",
    "groups",
    "entitlements",
    "roles",
    "x509Certificates",
    "urn",
];
/// Longest text of an attribute.
const MAX_TEXT: usize = 256;
/// Most members of a group.
pub const MAX_MEMBERS: usize = 10_000;
/// Longest request: a group of as many members, each with its address.
pub const MAX_BODY: usize = 2 * 1024 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn user(more: &str) -> Result<User, Fault> {
        User::parse(format!("{{\"schemas\":[\"{USER}\"],\"userName\":\"ana\"{more}}}").as_bytes())
    }

    #[test]
    fn a_user_is_read_and_what_nobody_needs_is_dropped() {
        let read = user(
            ",\"active\":\"False\",\"displayName\":\"Ana\",\"externalId\":\"7\",\"name\":{\"familyName\":\"x\"},\
             \"emails\":[{\"value\":\"a@b\"}],\"urn:ietf:params:scim:schemas:extension:enterprise:2.0:User\":{}",
        );
        let read = read.unwrap();
        assert_eq!((read.active, read.display.as_deref()), (false, Some("Ana")));
        let sent = Value::Object(read.to_json((4, "https://ca/scim/v2", "2026-01-01T00:00:00Z")));
        assert_eq!(sent["id"], "4");
        assert_eq!(sent["meta"]["location"], "https://ca/scim/v2/Users/4");
        assert!(!sent.to_string().contains("a@b"));
        assert!(user("").unwrap().active);
    }

    #[test]
    fn what_is_wrong_with_a_user_is_said_in_the_words_of_the_rfc() {
        let kind = |text: &str| User::parse(text.as_bytes()).unwrap_err().kind;
        assert_eq!(kind("[]"), Some("invalidSyntax"));
        assert_eq!(kind("{\"userName\":\"a\"}"), Some("invalidSyntax"));
        assert_eq!(kind(&format!("{{\"schemas\":[\"{USER}\"]}}")), Some("invalidValue"));
        for (more, expected) in [
            (",\"active\":1", "invalidValue"),
            (",\"active\":\"no\"", "invalidValue"),
            (",\"userName\":\"bob\"", "invalidSyntax"),
            (",\"displayName\":\"a\\u001b\"", "invalidValue"),
            (",\"displayName\":\"\"", "invalidValue"),
            (",\"shell\":\"x\"", "invalidPath"),
        ] {
            assert_eq!(user(more).unwrap_err().kind, Some(expected), "{more}");
        }
        let fault = Fault::taken("x").to_json();
        assert_eq!((&fault["status"], &fault["scimType"]), (&"409".into(), &"uniqueness".into()));
    }

    #[test]
    fn a_group_s_members_are_ids_of_ours() {
        let of = |members: &str| {
            Group::parse(
                format!(
                    "{{\"schemas\":[\"{GROUP}\"],\"displayName\":\"sre\",\"members\":{members}}}"
                )
                .as_bytes(),
            )
        };
        assert_eq!(
            of("[{\"value\":\"4\"},{\"value\":\"7\"},{\"value\":\"4\"}]").unwrap().members,
            [4, 7]
        );
        assert!(of("null").unwrap().members.is_empty());
        for bad in
            ["[{\"value\":\"04\"}]", "[{\"value\":4}]", "[{}]", "[7]", "[{\"value\":\"-1\"}]"]
        {
            assert!(of(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn an_answer_has_what_was_wanted() {
        let sent = || user(",\"displayName\":\"A\"").unwrap().to_json((4, "b", "c"));
        let names = |wanted: Wanted| {
            let Value::Object(members) = wanted.of(sent()) else { unreachable!() };
            // Whether an object keeps its order depends on what else is built.
            let mut names: Vec<String> = members.keys().cloned().collect();
            names.sort();
            names
        };
        let of = |only: Option<&str>, without: Option<&str>| {
            names(Wanted::parse(only, without).unwrap())
        };
        assert_eq!(of(Some("username"), None), ["id", "schemas", "userName"]);
        assert_eq!(of(Some(&format!("{USER}:active")), None), ["active", "id", "schemas"]);
        assert!(!of(None, Some("displayName,meta.location")).contains(&"meta".to_owned()));
        assert!(Wanted::parse(Some("a"), Some("b")).is_err());
    }
}
