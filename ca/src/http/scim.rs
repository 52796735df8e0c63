//! SCIM 2.0, `/scim/v2`: what a directory says of people and groups (RFC 7644). Errors are SCIM's own.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Query, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, HOST, LOCATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use idp::scim::about::{self, MAX_RESULTS};
use idp::scim::{
    Fault, Filter, GROUP, Group, GroupPatch, MAX_BODY, MembersPatch, USER, User, UserPatch, Wanted,
    id, list,
};
use serde::Deserialize;
use serde_json::Value;
use wire::identifier::{Identity, OrderNumber, TeamName};

use super::refusal::chain;
use crate::authority::Authority;
use crate::clock;
use crate::ledger::{
    Directory, DirectoryGroup, DirectoryUser, LedgerError, SqlError, WantedGroup, WantedUser,
};
use crate::random::Secret;

/// The routes of a directory.
pub(crate) fn router(authority: Arc<Authority>) -> Router {
    Router::new()
        .route("/scim/v2/Users", get(list_users).post(create_user))
        .route(
            "/scim/v2/Users/{id}",
            get(show_user).put(replace_user).patch(patch_user).delete(remove_user),
        )
        .route("/scim/v2/Groups", get(list_groups).post(create_group))
        .route(
            "/scim/v2/Groups/{id}",
            get(show_group).put(replace_group).patch(patch_group).delete(remove_group),
        )
        .route("/scim/v2/ServiceProviderConfig", get(service))
        .route("/scim/v2/ResourceTypes", get(resource_types))
        .route("/scim/v2/ResourceTypes/{id}", get(resource_type))
        .route("/scim/v2/Schemas", get(schemas))
        .route("/scim/v2/Schemas/{id}", get(schema))
        .route("/scim/v2/.search", post(search))
        .route("/scim/v2/{*path}", any(nothing))
        .method_not_allowed_fallback(async || {
            let fault = Fault { status: 405, kind: None, detail: "not with this method".into() };
            Failed(fault).into_response()
        })
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(authority)
}

/// An answer that is a fault.
struct Failed(Fault);

type Answer = Result<Response, Failed>;

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::BAD_REQUEST);
        sent(status, &self.0.to_json())
    }
}

impl From<Fault> for Failed {
    fn from(fault: Fault) -> Self {
        Self(fault)
    }
}

impl From<LedgerError> for Failed {
    fn from(error: LedgerError) -> Self {
        let plain = |status: u16, detail: &str| Fault { status, kind: None, detail: detail.into() };
        Self(match error {
            LedgerError::NotFound(_) => Fault::absent(),
            LedgerError::Conflict(why) => Fault::taken(why),
            LedgerError::Fixed(why) => Fault::fixed(why),
            LedgerError::Sql(SqlError::Unreachable(_))
            | LedgerError::Unreachable(_)
            | LedgerError::Unknown(_)
            | LedgerError::Stale => {
                tracing::error!(%error, "a directory cannot be answered");
                plain(503, "the ledger cannot be written right now")
            }
            other => {
                tracing::error!(error = %chain(&other), "a call of a directory failed");
                plain(500, "the authority could not do its work; its log says why")
            }
        })
    }
}

/// A directory that showed a token which holds, and where it thinks that it is.
struct Caller {
    directory: Directory,
    base: String,
}

impl FromRequestParts<Arc<Authority>> for Caller {
    type Rejection = Failed;

    async fn from_request_parts(
        parts: &mut Parts,
        authority: &Arc<Authority>,
    ) -> Result<Self, Failed> {
        let stranger = || Fault {
            status: 401,
            kind: None,
            detail: "show a directory's token; `curfew-ca scim token` makes one".into(),
        };
        let shown = parts.headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
        let shown = shown.and_then(|value| value.strip_prefix("Bearer ")).ok_or_else(stranger)?;
        let found = authority.ledger.directory(Secret::shown(shown).hash()).await?;
        let directory = found.ok_or_else(stranger)?;
        let base = format!("https://{}/scim/v2", place(authority, &parts.headers));
        Ok(Self { directory, base })
    }
}

/// What the directory calls this authority; what it would not be called is not repeated.
fn place(authority: &Authority, headers: &HeaderMap) -> String {
    let is_plain = |text: &&str| {
        text.len() <= 255 && text.chars().all(|c| c.is_ascii_alphanumeric() || ".:-[]".contains(c))
    };
    let said = headers.get(HOST).and_then(|value| value.to_str().ok()).filter(is_plain);
    said.map_or_else(|| authority.address(authority.config.listen.port()), ToOwned::to_owned)
}

/// What a request asks for beside the resource.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Asked {
    filter: Option<String>,
    start_index: Option<i64>,
    count: Option<i64>,
    attributes: Option<String>,
    excluded_attributes: Option<String>,
}

impl Asked {
    fn wanted(&self) -> Result<Wanted, Fault> {
        Wanted::parse(self.attributes.as_deref(), self.excluded_attributes.as_deref())
    }

    fn filter(&self, schema: &str) -> Result<Option<Filter>, Fault> {
        self.filter.as_deref().map(|text| Filter::parse(text, schema)).transpose()
    }

    /// How many to pass over, and how many to send.
    fn page(&self) -> (usize, usize) {
        let at_least = |number: Option<i64>, least: i64| {
            usize::try_from(number.unwrap_or(i64::MAX).max(least)).unwrap_or(usize::MAX)
        };
        let start = at_least(Some(self.start_index.unwrap_or(1)), 1);
        (start.saturating_sub(1), at_least(self.count, 0).min(MAX_RESULTS))
    }
}

async fn list_users(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Answer {
    let (wanted, page) = (asked.wanted()?, asked.page());
    let filter = asked.filter(USER)?;
    let (total, users) = authority.ledger.directory_users(filter, page).await?;
    let users = users.iter().map(|user| wanted.of(user_json(user, &caller.base))).collect();
    Ok(sent(StatusCode::OK, &list(total, page.0.saturating_add(1), users)))
}

async fn show_user(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let wanted = asked.wanted()?;
    let filter = Filter { attribute: "id", value: number(&name)?.to_string() };
    let (_, mut users) = authority.ledger.directory_users(Some(filter), (0, 1)).await?;
    let user = users.pop().ok_or_else(Fault::absent)?;
    Ok(sent(StatusCode::OK, &wanted.of(user_json(&user, &caller.base))))
}

async fn create_user(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    bytes: Bytes,
) -> Answer {
    let wanted = wanted_user(User::parse(&bytes)?)?;
    let (user, _) = put_user(&authority, &caller, (None, wanted)).await?;
    let mut answer = sent(StatusCode::CREATED, &Value::Object(user_json(&user, &caller.base)));
    if let Ok(place) = format!("{}/Users/{}", caller.base, user.id).parse() {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

async fn replace_user(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    let id = number(&name)?;
    let wanted = wanted_user(User::parse(&bytes)?)?;
    let (user, _) = put_user(&authority, &caller, (Some(id), wanted)).await?;
    Ok(sent(StatusCode::OK, &Value::Object(user_json(&user, &caller.base))))
}

async fn patch_user(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    let id = number(&name)?;
    let UserPatch { user_name, external, display, active } = UserPatch::parse(&bytes)?;
    let identity = user_name.map(identity).transpose()?;
    let wanted = WantedUser { identity, external, display, active };
    let (user, _) = put_user(&authority, &caller, (Some(id), wanted)).await?;
    Ok(sent(StatusCode::OK, &Value::Object(user_json(&user, &caller.base))))
}

async fn remove_user(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer {
    let what = (number(&name)?, authority.keyring());
    let order =
        authority.ledger.remove_directory_user(caller.directory, what, clock::now()).await?;
    told(&authority, &name, order);
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn list_groups(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Query(asked): Query<Asked>,
) -> Answer {
    let (wanted, page) = (asked.wanted()?, asked.page());
    let filter = asked.filter(GROUP)?;
    let (total, groups) = authority.ledger.directory_groups(filter, page).await?;
    let groups = groups.iter().map(|group| wanted.of(group_json(group, &caller.base))).collect();
    Ok(sent(StatusCode::OK, &list(total, page.0.saturating_add(1), groups)))
}

async fn show_group(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Answer {
    let wanted = asked.wanted()?;
    let filter = Filter { attribute: "id", value: number(&name)?.to_string() };
    let (_, mut groups) = authority.ledger.directory_groups(Some(filter), (0, 1)).await?;
    let group = groups.pop().ok_or_else(Fault::absent)?;
    Ok(sent(StatusCode::OK, &wanted.of(group_json(&group, &caller.base))))
}

async fn create_group(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    bytes: Bytes,
) -> Answer {
    let wanted = wanted_group(Group::parse(&bytes)?)?;
    let now = clock::now();
    let base = caller.base;
    let group = authority.ledger.put_directory_group(caller.directory, (None, wanted), now).await?;
    let mut answer = sent(StatusCode::CREATED, &Value::Object(group_json(&group, &base)));
    if let Ok(place) = format!("{base}/Groups/{}", group.id).parse() {
        answer.headers_mut().insert(LOCATION, place);
    }
    Ok(answer)
}

async fn replace_group(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    let what = (Some(number(&name)?), wanted_group(Group::parse(&bytes)?)?);
    let group = authority.ledger.put_directory_group(caller.directory, what, clock::now()).await?;
    Ok(sent(StatusCode::OK, &Value::Object(group_json(&group, &caller.base))))
}

async fn patch_group(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
    bytes: Bytes,
) -> Answer {
    let id = number(&name)?;
    let mut patch = GroupPatch::parse(&bytes)?;
    let team = patch.display.take().map(team).transpose()?;
    let wanted = WantedGroup { team, external: patch.external.take(), members: patch };
    let what = (Some(id), wanted);
    let group = authority.ledger.put_directory_group(caller.directory, what, clock::now()).await?;
    Ok(sent(StatusCode::OK, &Value::Object(group_json(&group, &caller.base))))
}

async fn remove_group(
    State(authority): State<Arc<Authority>>,
    caller: Caller,
    Path(name): Path<String>,
) -> Answer {
    let id = number(&name)?;
    authority.ledger.remove_directory_group(caller.directory, id, clock::now()).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn service(caller: Caller) -> Response {
    sent(StatusCode::OK, &about::service(&caller.base))
}

async fn resource_types(caller: Caller) -> Response {
    let all = about::resource_types(&caller.base);
    sent(StatusCode::OK, &list(all.len(), 1, all))
}

async fn resource_type(caller: Caller, Path(name): Path<String>) -> Answer {
    one_of(about::resource_types(&caller.base), &name)
}

async fn schemas(caller: Caller) -> Response {
    let all = about::schemas(&caller.base);
    sent(StatusCode::OK, &list(all.len(), 1, all))
}

async fn schema(caller: Caller, Path(name): Path<String>) -> Answer {
    one_of(about::schemas(&caller.base), &name)
}

async fn search(_caller: Caller) -> Failed {
    let detail = "users and groups are looked for apart, with a filter".into();
    Failed(Fault { status: 501, kind: None, detail })
}

async fn nothing(_caller: Caller) -> Failed {
    Failed(Fault::absent())
}

fn one_of(all: Vec<Value>, name: &str) -> Answer {
    let is_it = |one: &Value| one.get("id").and_then(Value::as_str) == Some(name);
    let found = all.into_iter().find(is_it).ok_or_else(Fault::absent)?;
    Ok(sent(StatusCode::OK, &found))
}

async fn put_user(
    authority: &Authority,
    caller: &Caller,
    what: (Option<u64>, WantedUser),
) -> Result<(DirectoryUser, Option<OrderNumber>), Failed> {
    let directory = caller.directory.clone();
    let (ledger, keyring) = (&authority.ledger, authority.keyring());
    let (user, order) = ledger.put_directory_user(directory, what, keyring, clock::now()).await?;
    told(authority, user.identity.as_str(), order);
    Ok((user, order))
}

fn told(authority: &Authority, who: &str, order: Option<OrderNumber>) {
    authority.krl.wake();
    if let Some(order) = order {
        tracing::warn!(
            who,
            order = order.number(),
            "a directory changed whether somebody is active"
        );
    }
}

fn wanted_user(user: User) -> Result<WantedUser, Fault> {
    let User { user_name, external, display, active } = user;
    let identity = Some(identity(user_name)?);
    let (external, display) = (Some(external), Some(display));
    Ok(WantedUser { identity, external, display, active: Some(active) })
}

fn wanted_group(group: Group) -> Result<WantedGroup, Fault> {
    let Group { display, external, members } = group;
    let members = vec![MembersPatch::Replace(members)];
    let members = GroupPatch { members, ..GroupPatch::default() };
    Ok(WantedGroup { team: Some(team(display)?), external: Some(external), members })
}

fn identity(name: String) -> Result<Identity, Fault> {
    Identity::try_new(name).map_err(|error| Fault::value(format!("userName: {error}")))
}

fn team(name: String) -> Result<TeamName, Fault> {
    TeamName::try_new(name).map_err(|error| Fault::value(format!("displayName: {error}")))
}

fn number(name: &str) -> Result<u64, Fault> {
    id(name).ok_or_else(Fault::absent)
}

fn user_json(user: &DirectoryUser, base: &str) -> serde_json::Map<String, Value> {
    let sent = User {
        user_name: user.identity.to_string(),
        external: user.external.clone(),
        display: user.display.clone(),
        active: user.active,
    };
    sent.to_json((user.id, base, &moment(user.changed)))
}

fn group_json(group: &DirectoryGroup, base: &str) -> serde_json::Map<String, Value> {
    let sent = Group {
        display: group.team.to_string(),
        external: group.external.clone(),
        members: group.members.iter().copied().collect(),
    };
    sent.to_json((group.id, base, &moment(group.changed)))
}

fn moment(at: wire::time::Timestamp) -> String {
    let millis = i64::try_from(at.millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).unwrap_or_default().to_string()
}

fn sent(status: StatusCode, value: &Value) -> Response {
    (status, [(CONTENT_TYPE, "application/scim+json")], value.to_string()).into_response()
}
