//! One question to a token endpoint: client credentials there, a token back (RFC 6749, section 4.4).
//!
//! ```text
//! POST path   Authorization: Basic base64(client id:secret), both form-encoded
//!             grant_type=client_credentials[&scope=…]
//! 200         { "access_token": "…", "expires_in": 3600 }
//! 400, 401    { "error": "invalid_client", "error_description": "…" }
//! ```
//!
//! Left out: redirects, proxies, compression, and connections that are kept: a token is fetched every few minutes at most.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, StatusCode};
use hyper_util::rt::TokioIo;
use kafka::sasl::Secret;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::config::{OauthClient, Url};
use crate::driver::tls::explain;

/// How long an endpoint may take over an answer, from the look-up of its name on.
const PATIENCE: Duration = Duration::from_secs(10);
/// Longest answer; tokens have some kilobytes.
const ANSWER_BYTES_MAX: usize = 256 * 1024;
/// How long a token lasts that does not say so.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(300);
/// A token that lasts longer is fetched anew after this all the same.
const LIFETIME_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Longest part of a server's own words that goes into an error, in characters.
const WORDS_MAX: usize = 200;

/// A token and how long it lasts.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) token: Secret,
    pub(super) lifetime: Duration,
}

/// Asks for a token.
///
/// # Errors
/// One sentence without a full stop: the step that failed, and the server's own words. Never a secret.
pub(super) async fn fetch(client: &OauthClient, trust: &Arc<ClientConfig>) -> Result<Issued, String> {
    timeout(PATIENCE, ask(client, trust)).await.map_err(|_| format!("no answer within {} s", PATIENCE.as_secs()))?
}

async fn ask(client: &OauthClient, trust: &Arc<ClientConfig>) -> Result<Issued, String> {
    let url = &client.token_endpoint;
    let stream = TcpStream::connect((url.host.as_str(), url.port)).await.map_err(|error| error.to_string())?;
    let (status, body) = match url.https {
        false => post(stream, client).await?,
        true => {
            let name = ServerName::try_from(url.host.clone())
                .map_err(|_| format!("{} is not a name that a certificate can bear", url.host))?;
            let connecting = TlsConnector::from(Arc::clone(trust)).connect(name, stream);
            post(connecting.await.map_err(|error| tls_fault(&error))?, client).await?
        }
    };
    understand(status, &body)
}

/// rustls hands its own errors through as those of io.
fn tls_fault(error: &std::io::Error) -> String {
    let own = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    own.map_or_else(|| format!("TLS: {error}"), |own| explain(own).replace("the broker", "the endpoint"))
}

async fn post(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    client: &OauthClient,
) -> Result<(StatusCode, Bytes), String> {
    let words = |error: hyper::Error| error.to_string();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(words)?;
    // It ends with the stream, when the answer has been read.
    tokio::spawn(connection);
    let response = sender.send_request(request(client)?).await.map_err(words)?;
    let status = response.status();
    let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok((status, body.map_err(|error| format!("its answer cannot be read: {error}"))?.to_bytes()))
}

fn request(client: &OauthClient) -> Result<Request<Full<Bytes>>, String> {
    let Url { path, .. } = &client.token_endpoint;
    let credentials = format!("{}:{}", form_encoded(&client.client_id), form_encoded(client.client_secret.expose()));
    let mut body = "grant_type=client_credentials".to_string();
    if let Some(scope) = &client.scope {
        body += &format!("&scope={}", form_encoded(scope));
    }
    Request::post(path.as_str())
        .header("host", client.token_endpoint.authority())
        .header("authorization", format!("Basic {}", STANDARD.encode(credentials)))
        .header("content-type", "application/x-www-form-urlencoded")
        .header("accept", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|_| "the question cannot be put as HTTP".to_string())
}

/// `application/x-www-form-urlencoded`.
fn form_encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' ' => out.push('+'),
            b if b.is_ascii_alphanumeric() || b"-._*".contains(&b) => out.push(b as char),
            b => out.push_str(&format!("%{b:02X}")),
        }
    }
    out
}

pub(super) fn understand(status: StatusCode, body: &[u8]) -> Result<Issued, String> {
    let answer: Value = serde_json::from_slice(body).unwrap_or_default();
    if status != StatusCode::OK {
        let word = |key: &str| answer[key].as_str().map(str::to_string);
        let said: Vec<String> = [word("error"), word("error_description")].into_iter().flatten().collect();
        let said: String = said.join(": ").chars().filter(|c| !c.is_control()).take(WORDS_MAX).collect();
        let said = if said.is_empty() { String::new() } else { format!(" ({said})") };
        return Err(format!("it answered {status}{said}; check token_endpoint, client_id and client_secret"));
    }
    let token = answer["access_token"].as_str().filter(|token| is_token(token));
    let token = token.ok_or("its answer holds no access_token; check token_endpoint")?;
    let said = match &answer["expires_in"] {
        Value::Number(seconds) => seconds.as_u64(),
        // Not as the standard has it, and met all the same.
        Value::String(seconds) => seconds.parse().ok(),
        _ => None,
    };
    let lifetime = said.map(Duration::from_secs).or_else(|| left_of(token)).unwrap_or(LIFETIME_DEFAULT);
    if lifetime.is_zero() {
        return Err("it issued a token that has expired; compare the clocks of both machines".to_string());
    }
    Ok(Issued { token: Secret::new(token), lifetime: lifetime.min(LIFETIME_MAX) })
}

/// RFC 6750, section 2.1: nothing else can stand in a message to a broker.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b))
}

/// How long a token lasts by its own claim, if it is a JWT (RFC 7519).
fn left_of(token: &str) -> Option<Duration> {
    let claims = URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Value = serde_json::from_slice(&claims).ok()?;
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs((claims["exp"].as_f64()? as u64).saturating_sub(now_s)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(status: u16, body: &str, expected: Result<(&str, u64), &str>) {
        let issued = understand(StatusCode::from_u16(status).unwrap(), body.as_bytes());
        match (issued, expected) {
            (Ok(issued), Ok((token, seconds))) => {
                assert_eq!((issued.token.expose(), issued.lifetime.as_secs()), (token, seconds), "{body}");
            }
            (Err(why), Err(part)) => assert!(why.contains(part), "{why}"),
            (got, expected) => panic!("{body}: {got:?}, not {expected:?}"),
        }
    }

    #[test]
    fn answers_are_tokens_or_reasons() {
        check(200, r#"{"access_token":"abc","expires_in":30}"#, Ok(("abc", 30)));
        check(200, r#"{"access_token":"abc","expires_in":"30"}"#, Ok(("abc", 30)));
        check(200, r#"{"access_token":"abc"}"#, Ok(("abc", 300)));
        check(200, r#"{"access_token":"abc","expires_in":99999999}"#, Ok(("abc", 86_400)));
        check(200, r#"{"access_token":"abc","expires_in":0}"#, Err("has expired"));
        // {"alg":"none"} and {"exp":1}: long past.
        check(200, r#"{"access_token":"eyJhbGciOiJub25lIn0.eyJleHAiOjF9."}"#, Err("has expired"));
        check(200, r#"{"access_token":"a b\u0001"}"#, Err("no access_token"));
        check(200, "<html>", Err("no access_token"));
        check(
            401,
            r#"{"error":"invalid_client","error_description":"no such client"}"#,
            Err("invalid_client: no such"),
        );
        check(500, "", Err("500"));
    }

    #[test]
    fn credentials_are_encoded_before_they_are_joined() {
        assert_eq!(form_encoded("a b:c%ä"), "a+b%3Ac%25%C3%A4");
    }
}
