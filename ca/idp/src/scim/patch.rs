//! Changes of a resource, operation by operation (RFC 7644 §3.5.2), read whole before any of it is done.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{Attribute, Fault, Filter, GROUP, MAX_BODY, USER, attribute, flag, ids, maybe, word};
use crate::json;

/// What is to become of a user; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserPatch {
    /// Their name, which may be named and not changed.
    pub user_name: Option<String>,
    /// What the directory calls them, or nothing any more.
    pub external: Option<Option<String>>,
    /// How they are shown, or nothing any more.
    pub display: Option<Option<String>>,
    /// Whether they may have access.
    pub active: Option<bool>,
}

/// What is to become of a group; what is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GroupPatch {
    /// What it is called.
    pub display: Option<String>,
    /// What the directory calls it, or nothing any more.
    pub external: Option<Option<String>>,
    /// Its members, one change after the other.
    pub members: Vec<MembersPatch>,
}

/// One change of a group's members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MembersPatch {
    /// These too.
    Add(Vec<u64>),
    /// These no more.
    Remove(Vec<u64>),
    /// These, and no others.
    Replace(Vec<u64>),
}

/// What an operation does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Op {
    Add,
    Remove,
    Replace,
}

impl UserPatch {
    /// Reads the operations on a user.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut patch = Self::default();
        for operation in operations(bytes)? {
            for (op, name, value) in flattened(operation, USER)? {
                patch.take(op, &name, &value)?;
            }
        }
        Ok(patch)
    }

    fn take(&mut self, op: Op, name: &str, value: &Value) -> Result<(), Fault> {
        let is_gone = op == Op::Remove;
        match attribute(name, USER)? {
            Attribute::Kept("userName" | "active") if is_gone => {
                return Err(Fault::fixed(format!("{name} cannot be removed")));
            }
            Attribute::Kept("userName") => self.user_name = Some(word(name, value)?),
            Attribute::Kept("externalId") => {
                self.external = Some(if is_gone { None } else { maybe(name, value)? });
            }
            Attribute::Kept("displayName") => {
                self.display = Some(if is_gone { None } else { maybe(name, value)? });
            }
            Attribute::Kept(_) => self.active = Some(flag(name, value)?),
            Attribute::Dropped => {}
        }
        Ok(())
    }
}

impl GroupPatch {
    /// Reads the operations on a group.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn parse(bytes: &[u8]) -> Result<Self, Fault> {
        let mut patch = Self::default();
        for operation in operations(bytes)? {
            if let Some(path) = operation.path.as_deref().filter(|path| path.contains('[')) {
                let id = Filter::member(path).filter(|_| operation.op == Op::Remove);
                let odd =
                    || Fault::of("invalidPath", "only one member can be named so, to be removed");
                patch.members.push(MembersPatch::Remove(vec![id.ok_or_else(odd)?]));
                continue;
            }
            for (op, name, value) in flattened(operation, GROUP)? {
                patch.take(op, &name, &value)?;
            }
        }
        Ok(patch)
    }

    fn take(&mut self, op: Op, name: &str, value: &Value) -> Result<(), Fault> {
        match attribute(name, GROUP)? {
            Attribute::Kept("displayName") if op == Op::Remove => {
                return Err(Fault::fixed("displayName cannot be removed"));
            }
            Attribute::Kept("displayName") => self.display = Some(word(name, value)?),
            Attribute::Kept("externalId") => {
                self.external = Some(if op == Op::Remove { None } else { maybe(name, value)? });
            }
            Attribute::Kept(_) => self.members.push(match op {
                Op::Add => MembersPatch::Add(ids(value)?),
                Op::Replace => MembersPatch::Replace(ids(value)?),
                Op::Remove if value.is_null() => MembersPatch::Replace(Vec::new()),
                Op::Remove => MembersPatch::Remove(ids(value)?),
            }),
            Attribute::Dropped => {}
        }
        Ok(())
    }

    /// The members after the changes.
    #[must_use]
    pub fn members_after(&self, before: &BTreeSet<u64>) -> BTreeSet<u64> {
        let mut members = before.clone();
        for change in &self.members {
            match change {
                MembersPatch::Add(ids) => members.extend(ids),
                MembersPatch::Remove(ids) => members.retain(|id| !ids.contains(id)),
                MembersPatch::Replace(ids) => members = ids.iter().copied().collect(),
            }
        }
        members
    }
}

struct Operation {
    op: Op,
    path: Option<String>,
    value: Value,
}

fn operations(bytes: &[u8]) -> Result<Vec<Operation>, Fault> {
    let mut members = json::object(bytes, MAX_BODY)?;
    let said = members.get("schemas").and_then(Value::as_array);
    let is_patch = |list: &Vec<Value>| list.iter().any(|one| one.as_str() == Some(PATCH));
    if !said.is_some_and(is_patch) {
        return Err(Fault::of("invalidSyntax", format!("schemas does not name {PATCH}")));
    }
    let name = members.keys().find(|name| name.eq_ignore_ascii_case("operations")).cloned();
    let list = name.and_then(|name| members.remove(&name));
    let Some(Value::Array(list)) = list else {
        return Err(Fault::of("invalidSyntax", "there is no list of Operations"));
    };
    if list.is_empty() || list.len() > MAX_OPERATIONS {
        return Err(Fault::of(
            "invalidSyntax",
            format!("1 to {MAX_OPERATIONS} operations are taken"),
        ));
    }
    list.into_iter().map(operation).collect()
}

fn operation(value: Value) -> Result<Operation, Fault> {
    let odd = || Fault::of("invalidSyntax", "an operation is no object with `op`");
    let Value::Object(mut members) = value else { return Err(odd()) };
    let op = members.get("op").and_then(Value::as_str).ok_or_else(odd)?;
    let all = [("add", Op::Add), ("remove", Op::Remove), ("replace", Op::Replace)];
    let op = all.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(op));
    let (_, op) = op.ok_or_else(|| Fault::of("invalidSyntax", "op is add, remove or replace"))?;
    let path = match members.remove("path") {
        None | Some(Value::Null) => None,
        Some(Value::String(path)) if path.len() <= MAX_PATH => Some(path),
        Some(_) => return Err(Fault::of("invalidPath", "path is no text of its length")),
    };
    if op == Op::Remove && path.is_none() {
        return Err(Fault::of("noTarget", "what is removed must be named by a path"));
    }
    let value = members.remove("value").unwrap_or(Value::Null);
    if op != Op::Remove && value.is_null() && path.is_none() {
        return Err(Fault::value("there is no value"));
    }
    Ok(Operation { op, path, value })
}

/// Each attribute that an operation is about, with its value.
fn flattened(operation: Operation, schema: &str) -> Result<Vec<(Op, String, Value)>, Fault> {
    let Operation { op, path, value } = operation;
    if let Some(path) = path {
        return Ok(vec![(op, path, value)]);
    }
    let odd = || Fault::value("without a path, the value is an object of attributes");
    let Value::Object(members) = value else { return Err(odd()) };
    let members: Map<String, Value> = members;
    let wanted = |name: &String| !name.eq_ignore_ascii_case(schema);
    Ok(members.into_iter().filter(|(name, _)| wanted(name)).map(|(n, v)| (op, n, v)).collect())
}

/// The schema of a patch.
const PATCH: &str = "urn:ietf:params:scim:api:messages:2.0:PatchOp";
/// Most operations at once.
const MAX_OPERATIONS: usize = 1_000;
/// Longest path.
const MAX_PATH: usize = 512;

#[cfg(test)]
mod tests {
    use super::*;

    fn text(operations: &str) -> String {
        format!("{{\"schemas\":[\"{PATCH}\"],\"Operations\":[{operations}]}}")
    }

    fn user(operations: &str) -> Result<UserPatch, Fault> {
        UserPatch::parse(text(operations).as_bytes())
    }

    fn group(operations: &str) -> Result<GroupPatch, Fault> {
        GroupPatch::parse(text(operations).as_bytes())
    }

    #[test]
    fn users_are_deactivated_in_every_way_that_directories_write_it() {
        for operation in [
            "{\"op\":\"replace\",\"path\":\"active\",\"value\":false}",
            "{\"op\":\"Replace\",\"path\":\"active\",\"value\":\"False\"}",
            "{\"op\":\"replace\",\"value\":{\"active\":false}}",
            "{\"op\":\"add\",\"path\":\"urn:ietf:params:scim:schemas:core:2.0:User:active\",\"value\":false}",
            "{\"op\":\"replace\",\"value\":{\"active\":false,\"name\":{\"givenName\":\"x\"}}}",
        ] {
            assert_eq!(user(operation).unwrap().active, Some(false), "{operation}");
        }
    }

    #[test]
    fn what_is_removed_is_gone_and_what_must_be_stays() {
        let gone = user("{\"op\":\"remove\",\"path\":\"displayName\"}").unwrap();
        assert_eq!(gone, UserPatch { display: Some(None), ..UserPatch::default() });
        for path in ["userName", "active"] {
            let refused = user(&format!("{{\"op\":\"remove\",\"path\":\"{path}\"}}")).unwrap_err();
            assert_eq!(refused.kind, Some("mutability"));
        }
        assert_eq!(user("{\"op\":\"remove\"}").unwrap_err().kind, Some("noTarget"));
    }

    #[test]
    fn members_come_and_go() {
        let before = BTreeSet::from([1, 2]);
        let after = |operations: &str| group(operations).unwrap().members_after(&before);
        let add =
            "{\"op\":\"add\",\"path\":\"members\",\"value\":[{\"value\":\"3\"},{\"value\":\"1\"}]}";
        assert_eq!(after(add), BTreeSet::from([1, 2, 3]));
        assert_eq!(
            after("{\"op\":\"remove\",\"path\":\"members[value eq \\\"2\\\"]\"}"),
            BTreeSet::from([1])
        );
        assert_eq!(
            after("{\"op\":\"remove\",\"path\":\"members\",\"value\":[{\"value\":\"1\"}]}"),
            BTreeSet::from([2])
        );
        assert!(after("{\"op\":\"remove\",\"path\":\"members\"}").is_empty());
        assert_eq!(
            after("{\"op\":\"replace\",\"value\":{\"members\":[{\"value\":\"9\"}]}}"),
            BTreeSet::from([9])
        );
        let both = format!("{add},{{\"op\":\"remove\",\"path\":\"members[value eq \\\"3\\\"]\"}}");
        assert_eq!(after(&both), before);
    }

    #[test]
    fn a_wrong_operation_refuses_all_of_them() {
        let good = "{\"op\":\"replace\",\"path\":\"active\",\"value\":false}";
        for (bad, kind) in [
            ("7", "invalidSyntax"),
            ("{\"op\":\"move\",\"path\":\"active\"}", "invalidSyntax"),
            ("{\"path\":\"active\",\"value\":true}", "invalidSyntax"),
            ("{\"op\":\"replace\",\"path\":\"active\",\"value\":null}", "invalidValue"),
            ("{\"op\":\"replace\",\"path\":\"active\",\"value\":\"maybe\"}", "invalidValue"),
            ("{\"op\":\"replace\",\"path\":\"shell\",\"value\":\"x\"}", "invalidPath"),
            ("{\"op\":\"replace\",\"path\":7,\"value\":\"x\"}", "invalidPath"),
            ("{\"op\":\"replace\",\"value\":[1]}", "invalidValue"),
            ("{\"op\":\"add\"}", "invalidValue"),
        ] {
            assert_eq!(user(&format!("{good},{bad}")).unwrap_err().kind, Some(kind), "{bad}");
        }
        assert!(user("").is_err() && UserPatch::parse(b"{}").is_err());
        let many = vec![good; 1_001].join(",");
        assert!(user(&many).is_err());
        for path in [
            "members[value eq 4]",
            "members[display eq \\\"x\\\"]",
            "members[value eq \\\"4\\\"].x",
        ] {
            assert!(
                group(&format!("{{\"op\":\"remove\",\"path\":\"{path}\"}}")).is_err(),
                "{path}"
            );
            assert!(group(&format!("{{\"op\":\"add\",\"path\":\"{path}\",\"value\":1}}")).is_err());
        }
    }
}
