//! What the service says of itself (RFC 7643 §5 to §7): what it can, which resources it has, and of what they consist.

use serde_json::{Value, json};

use super::{GROUP, USER};

/// What the service can.
#[must_use]
pub fn service(base: &str) -> Value {
    let no = json!({ "supported": false });
    json!({
        "schemas": [CONFIG],
        "patch": { "supported": true },
        "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
        "filter": { "supported": true, "maxResults": MAX_RESULTS },
        "changePassword": no,
        "sort": no,
        "etag": no,
        "authenticationSchemes": [{
            "type": "oauthbearertoken",
            "name": "Bearer token",
            "description": "A token made with `curfew-ca scim token`",
            "primary": true,
        }],
        "meta": {
            "resourceType": "ServiceProviderConfig",
            "location": format!("{base}/ServiceProviderConfig"),
        },
    })
}

/// Which resources there are.
#[must_use]
pub fn resource_types(base: &str) -> Vec<Value> {
    let one = |name: &str, endpoint: &str, schema: &str| {
        json!({
            "schemas": [TYPE],
            "id": name,
            "name": name,
            "endpoint": endpoint,
            "description": name,
            "schema": schema,
            "meta": {
                "resourceType": "ResourceType",
                "location": format!("{base}/ResourceTypes/{name}"),
            },
        })
    };
    vec![one("User", "/Users", USER), one("Group", "/Groups", GROUP)]
}

/// Of what they consist.
#[must_use]
pub fn schemas(base: &str) -> Vec<Value> {
    let one = |id: &str, name: &str, attributes: Vec<Value>| {
        json!({
            "schemas": [SCHEMA],
            "id": id,
            "name": name,
            "description": name,
            "attributes": attributes,
            "meta": { "resourceType": "Schema", "location": format!("{base}/Schemas/{id}") },
        })
    };
    vec![
        one(USER, "User", users()),
        one(GROUP, "Group", groups()),
        one(CONFIG, "ServiceProviderConfig", config()),
        one(TYPE, "ResourceType", types()),
        one(SCHEMA, "Schema", schema()),
    ]
}

fn users() -> Vec<Value> {
    vec![
        text("userName", "The identity's name, for good").required().fixed().server().done(),
        text("displayName", "How the person is shown").done(),
        Attribute::new("active", "boolean", "Whether the identity may have access")
            .required()
            .done(),
    ]
}

fn groups() -> Vec<Value> {
    let kinds = json!(["User"]);
    let mut reference = Attribute::new("$ref", "reference", "Where the member is").fixed().done();
    let mut kind = text("type", "What the member is").fixed().done();
    if let (Some(reference), Some(kind)) = (reference.as_object_mut(), kind.as_object_mut()) {
        reference.insert("referenceTypes".into(), kinds.clone());
        kind.insert("canonicalValues".into(), kinds);
    }
    let value = text("value", "The member's id").fixed().done();
    let members = Attribute::new("members", "complex", "Who is in it").many();
    vec![
        text("displayName", "The team's name").required().server().done(),
        members.of(vec![value, reference, kind]),
    ]
}

fn config() -> Vec<Value> {
    let supported =
        || vec![Attribute::new("supported", "boolean", "Whether").required().read().done()];
    let group = |name: &'static str, inner| {
        Attribute::new(name, "complex", name).required().read().of(inner)
    };
    let number = |name| Attribute::new(name, "integer", name).required().read().done();
    let scheme =
        ["type", "name", "description"].map(|name| text(name, name).required().read().done());
    vec![
        Attribute::new("documentationUri", "reference", "Where it is described").read().done(),
        group("patch", supported()),
        group(
            "bulk",
            [supported(), vec![number("maxOperations"), number("maxPayloadSize")]].concat(),
        ),
        group("filter", [supported(), vec![number("maxResults")]].concat()),
        group("changePassword", supported()),
        group("sort", supported()),
        group("etag", supported()),
        Attribute::new("authenticationSchemes", "complex", "How to log in")
            .required()
            .read()
            .many()
            .of(scheme.into()),
    ]
}

fn types() -> Vec<Value> {
    let mut all: Vec<Value> =
        ["name", "description"].map(|name| text(name, name).required().read().done()).into();
    for name in ["endpoint", "schema"] {
        all.push(Attribute::new(name, "reference", name).required().read().done());
    }
    all
}

fn schema() -> Vec<Value> {
    let inner: Vec<Value> = ["name", "type", "description", "mutability", "returned", "uniqueness"]
        .map(|name| text(name, name).read().done())
        .into();
    vec![
        text("name", "name").required().read().done(),
        text("description", "description").read().done(),
        Attribute::new("attributes", "complex", "attributes").required().read().many().of(inner),
    ]
}

/// One attribute, as it is built up.
struct Attribute {
    name: &'static str,
    kind: &'static str,
    description: &'static str,
    is_required: bool,
    is_many: bool,
    mutability: &'static str,
    uniqueness: &'static str,
}

fn text(name: &'static str, description: &'static str) -> Attribute {
    Attribute::new(name, "string", description)
}

impl Attribute {
    const fn new(name: &'static str, kind: &'static str, description: &'static str) -> Self {
        Self {
            name,
            kind,
            description,
            is_required: false,
            is_many: false,
            mutability: "readWrite",
            uniqueness: "none",
        }
    }

    const fn required(mut self) -> Self {
        self.is_required = true;
        self
    }

    const fn many(mut self) -> Self {
        self.is_many = true;
        self
    }

    const fn fixed(mut self) -> Self {
        self.mutability = "immutable";
        self
    }

    const fn read(mut self) -> Self {
        self.mutability = "readOnly";
        self
    }

    const fn server(mut self) -> Self {
        self.uniqueness = "server";
        self
    }

    fn done(self) -> Value {
        json!({
            "name": self.name,
            "type": self.kind,
            "multiValued": self.is_many,
            "description": self.description,
            "required": self.is_required,
            "caseExact": true,
            "mutability": self.mutability,
            "returned": "default",
            "uniqueness": self.uniqueness,
        })
    }

    fn of(self, inner: Vec<Value>) -> Value {
        let mut value = self.done();
        if let Some(members) = value.as_object_mut() {
            members.insert("subAttributes".into(), inner.into());
        }
        value
    }
}

const CONFIG: &str = "urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig";
const TYPE: &str = "urn:ietf:params:scim:schemas:core:2.0:ResourceType";
const SCHEMA: &str = "urn:ietf:params:scim:schemas:core:2.0:Schema";
/// Most resources of one page.
pub const MAX_RESULTS: usize = 200;
