//! The interface as an OpenAPI 3.1 document, for generators of clients and for whoever tests us with it.
//!
//! It is written by hand and kept true by tests: the one below compares it with the router, and
//! `tests/conformance/openapi.rs` lets schemathesis hold the running service against it.

use std::sync::Arc;

use axum::{
    Router,
    http::{HeaderValue, Uri, header},
    response::{IntoResponse, Response},
    routing::get,
};

use super::{Asked, Problem, Shared, params::Params};

const DOCUMENT: &str = include_str!("openapi.json");

pub(super) fn routes() -> Router<Arc<Shared>> {
    Router::new().route("/api/v1/openapi.json", get(document))
}

async fn document(_: Asked, uri: Uri) -> Result<Response, Problem> {
    Params::of(&uri).finish()?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT).into_response())
}

#[cfg(test)]
mod tests {
    use std::{
        collections::{BTreeMap, BTreeSet},
        fs,
        path::Path,
    };

    use axum::http::Method;
    use serde_json::Value;

    use super::DOCUMENT;
    use crate::rest::testing::Fixture;

    /// What begins so is described elsewhere, or is for people.
    const LEFT_OUT: [&str; 5] = [
        // gRPC, by `proto/bellwether/v1/degradation.proto`.
        "/bellwether.v1.",
        // Alertmanager's API, by Alertmanager's own document.
        "/api/v2/",
        "/anomalies/",
        "/runbooks",
        "/style.css",
    ];

    /// Every path that is given to a router in the sources under `path`.
    fn paths_in_sources(path: &Path, found: &mut BTreeSet<String>) {
        if path.is_dir() {
            let entries = fs::read_dir(path).expect("the sources are there");
            entries.for_each(|entry| paths_in_sources(&entry.expect("can be listed").path(), found));
            return;
        }
        if path.extension().is_none_or(|kind| kind != "rs") {
            return;
        }
        let text = fs::read_to_string(path).expect("is UTF-8");
        // What a test routes is not served.
        let served = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        for after in served.split(".route(").skip(1) {
            let argument = after.split(',').next().unwrap_or_default().trim();
            let literal = argument.strip_prefix('"').map(str::to_owned).or_else(|| {
                let (_, value) = served.split_once(&format!("const {argument}: &str = \""))?;
                Some(value.split('"').next()?.to_owned() + "\"")
            });
            let literal = literal.unwrap_or_else(|| format!("{}: {argument}", path.display()));
            found.insert(literal.trim_end_matches('"').replace("{*", "{"));
        }
    }

    /// The methods of a path, as the router says them when it is asked for one that nobody has.
    async fn methods(fixture: &Fixture, path: &str) -> BTreeSet<String> {
        let path = path.replace(['{', '}'], "");
        let answer = fixture.send(Method::TRACE, &path, &[], "").await;
        assert_eq!(answer.status(), 405, "{path}");
        let allowed = answer.header("allow").split(',').map(|method| method.trim().to_ascii_lowercase());
        allowed.filter(|method| method != "head" && !method.is_empty()).collect()
    }

    #[tokio::test]
    async fn the_document_has_the_routes_of_the_router_and_no_others() {
        let document: Value = serde_json::from_str(DOCUMENT).expect("is JSON");
        let is_method = |name: &&String| !matches!(name.as_str(), "parameters" | "summary" | "description");
        let described: BTreeMap<String, BTreeSet<String>> = document["paths"]
            .as_object()
            .expect("has paths")
            .iter()
            .map(|(path, item)| {
                let methods = item.as_object().expect("is an object").keys().filter(is_method).cloned().collect();
                (path.clone(), methods)
            })
            .collect();
        let mut paths = BTreeSet::new();
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        for part in ["rest.rs", "rest", "metrics.rs", "ui.rs", "ui"] {
            paths_in_sources(&root.join(part), &mut paths);
        }
        paths.retain(|path| path != "/" && !LEFT_OUT.iter().any(|prefix| path.starts_with(prefix)));
        let fixture = Fixture::troubled();
        let mut served = BTreeMap::new();
        for path in paths {
            let methods = methods(&fixture, &path).await;
            served.insert(path, methods);
        }
        assert_eq!(served, described);
    }

    #[tokio::test]
    async fn the_document_is_served_and_its_references_lead_somewhere() {
        let document = Fixture::troubled().json("/api/v1/openapi.json").await;
        assert_eq!(document["openapi"], "3.1.0");
        let text = document.to_string();
        for reference in text.split("\"$ref\":\"#").skip(1) {
            let pointer = reference.split('"').next().unwrap_or_default();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
    }
}
