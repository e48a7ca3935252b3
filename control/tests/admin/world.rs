//! A running control process to ask, and a node that obeys it.

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use keyway::authenticate::digest::Pepper;
use keyway::clock::Clock;
use keyway::link::protocol::ControlMessage;
use keyway_control::admin;
use keyway_control::domain::{Keysmith, TokenRole, fresh_admin_token};
use keyway_control::fixture::{FakeNode, Running, name};
use keyway_control::state::Control;
use keyway_control::store::Author;
use serde_json::{Value, json};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;
use tower::ServiceExt;

/// How long anything may take before a test fails; a test that passes never waits it out.
const PATIENCE: Duration = Duration::from_secs(20);

/// Control without its listener: requests go straight to the router.
pub struct World {
    pub running: Running,
    pub router: Router,
    pub token: String,
    pub directory: TempDir,
}

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Value,
    pub text: String,
}

impl World {
    /// An empty world.
    pub async fn empty() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let running = Running::start(directory.path()).await;
        let (secret, digest) = fresh_admin_token().expect("random");
        running
            .store
            .write(Author::system(), move |tx| {
                tx.token_create(name("ops"), digest, TokenRole::Admin)
            })
            .await
            .expect("the token is kept");
        let control = Control {
            store: running.store.clone(),
            publisher: running.publisher.clone(),
            keysmith: Arc::new(Keysmith::new(
                Pepper::new(1, &[7; 32]).expect("long enough"),
            )),
            clock: Clock::system(),
            metrics_top: 2,
        };
        let (router, token) = (admin::router(control), secret.expose().to_owned());
        Self {
            running,
            router,
            token,
            directory,
        }
    }

    /// Upstream `origin`, API `orders`, plan `free`, tenant `acme` with the app `mobile`, which
    /// is subscribed.
    pub async fn laid_out() -> Self {
        let world = Self::empty().await;
        let document = json!({
            "upstreams": [{ "name": "origin", "targets": ["127.0.0.1:9000"] }],
            "apis": [{ "name": "orders", "upstream": "origin",
                "routes": [{ "path": "/orders/*" }] }],
            "plans": [{ "name": "free", "apis": ["orders"],
                "limits": [{ "name": "burst", "requests": 10, "per": "second" }] }],
            "tenants": [{ "name": "acme", "apps": [{ "name": "mobile",
                "subscriptions": [{ "api": "orders", "plan": "free" }] }] }],
        });
        world.post("/v1/apply", document).await.expect(200);
        world
    }

    /// Asks with the token.
    pub async fn ask(&self, method: Method, path: &str, body: Option<Value>) -> Answer {
        self.ask_with(method, path, body, &[]).await
    }

    /// Asks with the token and more headers.
    pub async fn ask_with(
        &self,
        method: Method,
        path: &str,
        body: Option<Value>,
        headers: &[(&str, &str)],
    ) -> Answer {
        let mut request = self.request(method, path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.send(request.body(body).expect("a request")).await
    }

    /// A request that bears the token.
    pub fn request(&self, method: Method, path: &str) -> axum::http::request::Builder {
        let token = format!("Bearer {}", self.token);
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::AUTHORIZATION, token)
    }

    pub async fn send(&self, request: Request<Body>) -> Answer {
        answer_of(&self.router, request).await
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub async fn patch(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::PATCH, path, Some(body)).await
    }

    pub async fn delete(&self, path: &str) -> Answer {
        self.ask(Method::DELETE, path, None).await
    }

    /// Asks until the answer is good.
    pub async fn until(&self, path: &str, good: impl Fn(&Answer) -> bool) -> Answer {
        let asking = async {
            loop {
                let answer = self.get(path).await;
                if good(&answer) {
                    return answer;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, asking)
            .await
            .unwrap_or_else(|_| panic!("waited for {path}"))
    }

    /// Makes a key of acme/mobile; answers its id and secret.
    pub async fn key(&self) -> (String, String) {
        let made = self
            .post("/v1/keys", json!({ "tenant": "acme", "app": "mobile" }))
            .await;
        let made = made.expect(201);
        (text(&made["id"]), text(&made["secret"]))
    }
}

/// Asks a router.
pub async fn answer_of(router: &Router, request: Request<Body>) -> Answer {
    let response = router
        .clone()
        .oneshot(request)
        .await
        .expect("a router answers");
    let (head, body) = response.into_parts();
    let bytes: Bytes = axum::body::to_bytes(body, usize::MAX)
        .await
        .expect("a whole body");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    let body = serde_json::from_str(&text).unwrap_or(Value::Null);
    Answer {
        status: head.status,
        headers: head.headers,
        body,
        text,
    }
}

impl Answer {
    /// The body, if the status is the one expected.
    pub fn expect(self, status: u16) -> Value {
        assert_eq!(self.status.as_u16(), status, "{}", self.text);
        self.body
    }

    /// Checks that this is a refusal in the one form that all refusals have.
    pub fn expect_problem(self, status: u16, code: &str) -> Value {
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{}",
            self.text
        );
        let body = self.expect(status);
        assert_eq!(body["code"], code, "{body}");
        assert_eq!(body["type"], format!("urn:keyway:problem:{code}"));
        assert_eq!(body["status"], status);
        for field in ["title", "detail"] {
            assert!(
                body[field].as_str().is_some_and(|text| !text.is_empty()),
                "{body}"
            );
        }
        body
    }

    pub fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    }
}

/// A text inside an answer.
pub fn text(value: &Value) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value} is no text"))
        .to_owned()
}

/// A node of two workers that serves every generation it hears of, until dropped.
pub struct ObedientNode(JoinHandle<()>);

impl ObedientNode {
    pub async fn connect(socket: &Path, name: &str) -> Self {
        let mut node = FakeNode::connect(socket, name, 1, 0).await;
        Self(tokio::spawn(async move {
            while let Some(message) = node.hear().await {
                if let ControlMessage::Announce { generation } = message {
                    node.serve(generation).await;
                }
            }
        }))
    }
}

impl Drop for ObedientNode {
    fn drop(&mut self) {
        self.0.abort();
    }
}
