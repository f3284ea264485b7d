//! Tags of workspaces, in the two forms that clients use: bindings of keys to values, and bare names.

use axum::{extract::Path, http::StatusCode};
use serde::Deserialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tfe_core::{
    access::Permission,
    error::Invalid,
    jsonapi::{self, Document, Resource},
    workspace::{TagBinding, Workspace},
};

use crate::{
    error::Reply,
    http::{body, context::Context, parameters::Parameters, respond, routes::Routes},
    service::workspaces::change,
};

pub(crate) fn routes() -> Routes {
    Routes::new()
        .get("/api/v2/workspaces/{id}/tag-bindings", bindings)
        .patch("/api/v2/workspaces/{id}/tag-bindings", add_bindings)
        .delete("/api/v2/workspaces/{id}/tag-bindings", remove_all)
        .get("/api/v2/workspaces/{id}/effective-tag-bindings", effective_bindings)
        .get("/api/v2/workspaces/{id}/relationships/tags", names)
        .post("/api/v2/workspaces/{id}/relationships/tags", add_names)
        .delete("/api/v2/workspaces/{id}/relationships/tags", remove_names)
}

/// A bare name, or a key with a value.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Tag {
    name: Option<String>,
    key: Option<String>,
    value: Option<String>,
}

async fn bindings(context: Context, Path(id): Path<String>) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    Ok(shown(&workspace, "tag-bindings"))
}

async fn effective_bindings(context: Context, Path(id): Path<String>) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    Ok(shown(&workspace, "effective-tag-bindings"))
}

async fn add_bindings(context: Context, Path(id): Path<String>, body::Document(body): body::Document) -> Reply {
    let workspace = add(&context, &id, &body).await?;
    Ok(shown(&workspace, "tag-bindings"))
}

async fn remove_all(context: Context, Path(id): Path<String>) -> Reply {
    context.workspace(&id, Permission::ManageWorkspace).await?;
    let now = context.app.now();
    change(&context.app, &id, |workspace| Ok(workspace.tagged(Vec::new(), now)?)).await?;
    Ok(respond::done())
}

async fn names(context: Context, Path(id): Path<String>, parameters: Parameters) -> Reply {
    let workspace = context.workspace(&id, Permission::ReadWorkspace).await?;
    let resources: Vec<_> = workspace.tags.iter().map(|tag| render_name(&workspace, tag)).collect();
    Ok(respond::page(&context, &parameters, &resources, resources.len() as u64))
}

async fn add_names(context: Context, Path(id): Path<String>, body::Document(body): body::Document) -> Reply {
    add(&context, &id, &body).await?;
    Ok(respond::done())
}

/// Removes tags by id or name; removing one that is not there is done already.
async fn remove_names(context: Context, Path(id): Path<String>, body::Document(body): body::Document) -> Reply {
    context.workspace(&id, Permission::ManageWorkspace).await?;
    let inputs = jsonapi::Input::parse_list(&body)?;
    let (wanted, now) = (parse(&inputs)?, context.app.now());
    change(&context.app, &id, |workspace| {
        let is_unwanted = |tag: &TagBinding| {
            let id = tag_id(&workspace, tag);
            wanted.iter().any(|unwanted| unwanted.key == tag.key) || inputs.iter().any(|input| input.id.as_ref() == Some(&id))
        };
        let kept = workspace.tags.iter().filter(|tag| !is_unwanted(tag)).cloned().collect();
        Ok(workspace.tagged(kept, now)?)
    })
    .await?;
    Ok(respond::done())
}

async fn add(context: &Context, id: &str, body: &[u8]) -> Result<Workspace, crate::ApiError> {
    context.workspace(id, Permission::ManageWorkspace).await?;
    let (added, now) = (parse(&jsonapi::Input::parse_list(body)?)?, context.app.now());
    let changed = change(&context.app, id, |workspace| {
        let kept = workspace.tags.iter().filter(|tag| !added.iter().any(|new| new.key == tag.key));
        let tags = kept.chain(&added).cloned().collect();
        Ok(workspace.tagged(tags, now)?)
    });
    Ok(changed.await?.into_record())
}

/// The tags that a new or changed workspace comes with, in either form.
pub(crate) fn from_relationships(input: &jsonapi::Input) -> Result<Vec<TagBinding>, Invalid> {
    let mut tags = parse(&input.many("tag-bindings")?)?;
    tags.extend(parse(&input.many("tags")?)?);
    Ok(tags)
}

/// What to look for in a workspace's index of tags for the parameters `search[tags]` and `filter[tagged]`.
pub(crate) fn needles(parameters: &Parameters) -> Vec<String> {
    let bare = parameters.list("search[tags]").into_iter().map(|key| TagBinding { key, value: String::new() }.needle(false));
    let mut bound: Vec<(&str, TagBinding, bool)> = Vec::new();
    for (name, text) in parameters.iter() {
        let Some((number, part)) = name.strip_prefix("filter[tagged][").and_then(|rest| rest.split_once("][")) else { continue };
        let place = bound.iter().position(|(known, ..)| *known == number).unwrap_or_else(|| {
            bound.push((number, TagBinding { key: String::new(), value: String::new() }, false));
            bound.len() - 1
        });
        let (_, tag, has_value) = &mut bound[place];
        if part == "key]" {
            text.clone_into(&mut tag.key);
        } else {
            text.clone_into(&mut tag.value);
            *has_value = true;
        }
    }
    bare.chain(bound.into_iter().map(|(_, tag, with_value)| tag.needle(with_value))).collect()
}

fn parse(inputs: &[jsonapi::Input]) -> Result<Vec<TagBinding>, Invalid> {
    let mut tags = Vec::new();
    for input in inputs {
        let tag: Tag = jsonapi::attributes(&input.attributes)?;
        if let Some(key) = tag.key.or(tag.name) {
            tags.push(TagBinding { key, value: tag.value.unwrap_or_default() });
        }
    }
    Ok(tags)
}

fn shown(workspace: &Workspace, kind: &'static str) -> axum::response::Response {
    let render = |tag: &TagBinding| Resource::new(kind, tag_id(workspace, tag)).attributes(tag);
    let resources: Vec<_> = workspace.tags.iter().map(render).collect();
    respond::document(StatusCode::OK, &Document::all(&resources))
}

fn render_name(workspace: &Workspace, tag: &TagBinding) -> Resource {
    let attributes = json!({ "name": tag.key, "created-at": workspace.created_at.to_string(), "instance-count": 1 });
    Resource::new("tags", tag_id(workspace, tag)).attributes(&attributes)
}

/// Tags have no records, so their ids are made from what they are.
fn tag_id(workspace: &Workspace, tag: &TagBinding) -> String {
    let digest = Sha256::digest(format!("{}\n{}", workspace.organization_id, tag.key));
    digest.iter().take(8).fold(String::from("tag-"), |text, byte| text + &format!("{byte:02x}"))
}
