//! `GET /api/`: the document that describes the API.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::HOST;
use http::{Method, Response, Uri};

use crate::catalog;
use crate::catalog::{Function, Relation};
use crate::config::OpenApi;
use crate::error::Error;
use crate::openapi::Description;
use crate::pool::{Fold, Row, Step};
use crate::query;
use crate::query::MediaType;
use crate::response;
use crate::server::Body;

use super::Service;
use super::asked::Asked;
use super::run::Job;
use super::timing::Phase;

impl Service {
    /// `/api/`: the document that describes the API.
    pub(super) async fn root(&self, asked: &Asked<'_>) -> Result<Response<Body>, Error> {
        let method = &asked.request.head.method;
        if *method == Method::OPTIONS {
            return Ok(response::options("OPTIONS,GET,HEAD", &asked.dialect().cors_origins));
        }
        if ![Method::GET, Method::HEAD].contains(method) {
            return Err(Error::Method {
                method: method.clone(),
                allow: "OPTIONS, GET, HEAD",
            });
        }
        let dialect = asked.dialect();
        if dialect.openapi == OpenApi::Disabled {
            return Err(Error::NoRoot);
        }
        let media = asked.accepts.iter().find_map(|accepted| match accepted {
            MediaType::OpenApi31 => Some(MediaType::OpenApi31),
            MediaType::OpenApi | MediaType::Json | MediaType::Any => Some(MediaType::OpenApi),
            _ => None,
        });
        let media = media.ok_or_else(|| asked.not_acceptable())?;
        let catalog = &asked.structure.catalog;
        let (mut relations, mut functions): (Vec<_>, Vec<_>) = (
            catalog.relations().iter().collect(),
            catalog.functions().iter().collect(),
        );
        let follows = dialect.openapi == OpenApi::FollowPrivileges;
        // What runs before every request may refuse this one as well.
        if follows || dialect.pre_request.is_some() {
            let (usable, callable) = self.privileges(asked, &relations, &functions).await?;
            if follows {
                relations = usable
                    .iter()
                    .filter_map(|place| relations.get(place.checked_sub(1)?).copied())
                    .collect();
                functions = callable
                    .iter()
                    .filter_map(|place| functions.get(place.checked_sub(1)?).copied())
                    .collect();
            }
        }
        let (scheme, host, base_path) = address(asked);
        let description = Description {
            catalog,
            relations,
            functions,
            schema: asked.context().schema,
            scheme: &scheme,
            host: &host,
            base_path: &base_path,
            security: dialect.openapi_security,
        };
        let document = if media == MediaType::OpenApi31 {
            description.v3()
        } else {
            description.v2()
        };
        let body = if *method == Method::HEAD {
            String::new()
        } else {
            document.to_string()
        };
        Ok(response::document(body.into(), media.content_type(), asked.profile))
    }

    /// The places of the relations and functions that the caller's role may use.
    async fn privileges(
        &self,
        asked: &Asked<'_>,
        relations: &[&Relation],
        functions: &[&Function],
    ) -> Result<(Vec<usize>, Vec<usize>), Error> {
        let sql: Arc<str> = catalog::PRIVILEGES_SQL.into();
        let schemas: Vec<&str> = asked
            .tenant
            .searched(asked.schema)
            .map(|schema| schema.as_str())
            .collect();
        let relations: Vec<&str> = relations.iter().map(|relation| &*relation.name).collect();
        let names = |function: &&Function| -> String {
            let names: Vec<&str> = function.arguments.iter().map(|argument| &*argument.name).collect();
            names.join(",")
        };
        let arguments: Vec<String> = functions.iter().map(names).collect();
        let functions: Vec<&str> = functions.iter().map(|function| &*function.name).collect();
        let lists = [
            query::array(&schemas),
            query::array(&relations),
            query::array(&functions),
            query::array(&arguments),
        ];
        let params = lists.map(|list| Some(Cow::Owned(list)));
        let job = Job::read(Step {
            sql: &sql,
            params: &params,
        });
        let started = asked.timings.begin();
        let done = self
            .execute(asked.runner(), job, || Fold::new(Vec::new(), numbers))
            .await;
        asked.timings.add(Phase::Transaction, started);
        let (_, found) = done?;
        match <[_; 2]>::try_from(found.state) {
            Ok([relations, functions]) => Ok((relations, functions)),
            Err(_) => Err(Error::Privileges),
        }
    }
}

/// The JSON arrays of numbers of a row; nothing if one is not.
fn numbers(found: &mut Vec<Vec<usize>>, row: Row<'_>) {
    let lists = row
        .values()
        .map(|value| serde_json::from_slice(value.unwrap_or_default()));
    *found = lists.collect::<Result<_, _>>().unwrap_or_default();
}

/// Where the API is to be reached: scheme, host with its port, and path. As `openapi_url` says, or as it was asked for.
fn address(asked: &Asked<'_>) -> (String, String, String) {
    let url = asked.dialect().openapi_url.as_deref();
    let url = url.and_then(|url| url.parse::<Uri>().ok());
    let Some((url, authority)) = url.as_ref().and_then(|url| Some((url, url.authority()?))) else {
        let parts = asked.request.head;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
        let host = parts.uri.authority().map(|authority| authority.as_str()).or(host);
        return (
            asked.request.scheme.to_owned(),
            host.unwrap_or_default().to_owned(),
            "/api/".to_owned(),
        );
    };
    let scheme = url.scheme_str().unwrap_or(asked.request.scheme);
    let port = if scheme == "https" { 443 } else { 80 };
    let host = match authority.port() {
        Some(_) => authority.to_string(),
        None => format!("{authority}:{port}"),
    };
    let path = match url.path() {
        "" => "/",
        path => path,
    };
    (scheme.to_owned(), host, path.to_owned())
}
