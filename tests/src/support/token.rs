//! An authorization server in a thread: client credentials in, unsigned tokens that Apache Kafka's own test validator takes out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What a client has to show, as `Authorization: Basic`: `device:token-secret`.
const CREDENTIALS: &str = "Basic ZGV2aWNlOnRva2VuLXNlY3JldA==";

/// A running endpoint; it runs as long as the test program.
#[derive(Debug)]
pub struct TokenEndpoint {
    url: String,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    lifetime_s: u64,
    issued: Mutex<Vec<String>>,
    down: AtomicBool,
    /// The form that was sent last.
    form: Mutex<String>,
    /// Of a certificate and its key, where it speaks TLS; both are read anew for each connection.
    pair: Option<(PathBuf, PathBuf)>,
}

impl TokenEndpoint {
    /// Issues tokens that last so many seconds to client `device` with secret `token-secret`.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(lifetime_s: u64) -> Self {
        Self::serve("http", lifetime_s, None)
    }

    /// The same over TLS, with the certificate and the key that these files hold at the time.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start_https(lifetime_s: u64, certificate: &Path, key: &Path) -> Self {
        Self::serve("https", lifetime_s, Some((certificate.to_owned(), key.to_owned())))
    }

    fn serve(scheme: &str, lifetime_s: u64, pair: Option<(PathBuf, PathBuf)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("{scheme}://{}/token", listener.local_addr().expect("bound"));
        let state =
            State { lifetime_s, issued: Mutex::default(), down: AtomicBool::new(false), form: Mutex::default(), pair };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in between, or does not trust us, is nobody's loss.
                let _ = shared.take(stream);
            }
        });
        Self { url, state }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// How many tokens it has issued so far.
    pub fn issued(&self) -> u32 {
        self.tokens().len() as u32
    }

    /// The tokens themselves.
    pub fn tokens(&self) -> Vec<String> {
        self.state.issued.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What was asked last: a form, as it came.
    pub fn last_form(&self) -> String {
        self.state.form.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether it answers with errors from now on.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }
}

impl State {
    fn take(&self, mut socket: TcpStream) -> std::io::Result<()> {
        let Some((certificate, key)) = &self.pair else { return self.answer(&mut socket) };
        let session = session(certificate, key).map_err(std::io::Error::other)?;
        let mut stream = StreamOwned::new(session, socket);
        self.answer(&mut stream)?;
        stream.conn.send_close_notify();
        stream.flush()
    }

    fn answer(&self, stream: &mut (impl Read + Write)) -> std::io::Result<()> {
        let mut reader = BufReader::new(&mut *stream);
        let (mut length, mut known) = (0, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            let Some((name, value)) = line.split_once(": ") else { continue };
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or(0),
                "authorization" => known = value == CREDENTIALS,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        *self.form.lock().unwrap_or_else(PoisonError::into_inner) = String::from_utf8_lossy(&body).into_owned();
        let asked = body.starts_with(b"grant_type=client_credentials");
        let (status, body) = match (self.down.load(Ordering::SeqCst), known && asked) {
            (true, _) => ("503 Service Unavailable", "{}".to_owned()),
            (false, false) => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
            (false, true) => {
                let (token, seconds) = (unsigned_token(self.lifetime_s), self.lifetime_s);
                self.issued.lock().unwrap_or_else(PoisonError::into_inner).push(token.clone());
                ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{seconds}}}"#))
            }
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    }
}

/// Our side of a TLS connection.
fn session(certificate: &Path, key: &Path) -> Result<ServerConnection, Box<dyn std::error::Error + Send + Sync>> {
    let chain = vec![CertificateDer::from_pem_file(certificate)?];
    let key = PrivateKeyDer::from_pem_file(key)?;
    let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions()?.with_no_client_auth();
    Ok(ServerConnection::new(Arc::new(builder.with_single_cert(chain, key)?))?)
}

/// A JWT without a signature (RFC 7519, section 6) for user `device`.
fn unsigned_token(lifetime_s: u64) -> String {
    let now_s = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
    let claims = format!(r#"{{"sub":"device","iat":{now_s},"exp":{}}}"#, now_s + lifetime_s);
    format!("{}.{}.", base64url(br#"{"alg":"none"}"#), base64url(claims.as_bytes()))
}

fn base64url(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut out = String::new();
    for group in bytes.chunks(3) {
        let word = group.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - group.len()));
        for at in 0..=group.len() {
            out.push(ALPHABET[(word >> (18 - 6 * at) & 63) as usize] as char);
        }
    }
    out
}
