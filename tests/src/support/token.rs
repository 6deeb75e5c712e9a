//! An authorization server in a thread: client credentials in, unsigned tokens that Apache Kafka's own test validator takes out.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

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
    issued: AtomicU32,
    down: AtomicBool,
}

impl TokenEndpoint {
    /// Issues tokens that last so many seconds to client `device` with secret `token-secret`.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn start(lifetime_s: u64) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let url = format!("http://{}/token", listener.local_addr().expect("bound"));
        let state = Arc::new(State { lifetime_s, issued: AtomicU32::new(0), down: AtomicBool::new(false) });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that goes away in between is nobody's loss.
                let _ = shared.answer(stream);
            }
        });
        Self { url, state }
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Tokens issued so far.
    pub fn issued(&self) -> u32 {
        self.state.issued.load(Ordering::SeqCst)
    }

    /// Whether it answers with errors from now on.
    pub fn set_down(&self, down: bool) {
        self.state.down.store(down, Ordering::SeqCst);
    }
}

impl State {
    fn answer(&self, mut stream: TcpStream) -> std::io::Result<()> {
        let mut reader = BufReader::new(stream.try_clone()?);
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
        let asked = body.starts_with(b"grant_type=client_credentials");
        let (status, body) = match (self.down.load(Ordering::SeqCst), known && asked) {
            (true, _) => ("503 Service Unavailable", "{}".to_owned()),
            (false, false) => ("401 Unauthorized", r#"{"error":"invalid_client"}"#.to_owned()),
            (false, true) => {
                self.issued.fetch_add(1, Ordering::SeqCst);
                let (token, seconds) = (unsigned_token(self.lifetime_s), self.lifetime_s);
                ("200 OK", format!(r#"{{"access_token":"{token}","token_type":"bearer","expires_in":{seconds}}}"#))
            }
        };
        let length = body.len();
        write!(stream, "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
    }
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
