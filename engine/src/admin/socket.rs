//! The control socket, `data_dir/control.sock`: what the command line asks of the node that runs on the same machine.
//!
//! One question a connection: a line of JSON, answered by a line of JSON. Only the user the node runs as may connect (mode
//! 0600). Both sides reach it by the descriptor of its directory, because the path of a socket has 107 bytes at the most and
//! that of a data directory has not.

use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, listen, socket_with};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Its name in the data directory.
pub const NAME: &str = "control.sock";

/// Bytes of a question; more is a mistake or mischief.
pub const QUESTION_BYTES_MAX: usize = 64 << 10;

/// Bytes of an answer, as the asking side takes them.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Questions at once; more wait.
const QUESTIONS_MAX: usize = 16;

/// Time to put a question, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// Answers a question.
pub type Answer = Box<dyn Fn(Value) -> Pin<Box<dyn Future<Output = Value> + Send>> + Send + Sync>;

/// The socket, before anybody answers. It is removed when this goes.
#[derive(Debug)]
pub struct ControlSocket {
    listener: UnixListener,
    path: PathBuf,
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A directory by its descriptor, which keeps the path of a socket in it short.
fn short(directory: &Path) -> io::Result<(File, PathBuf)> {
    let open = File::open(directory)?;
    let path = PathBuf::from(format!("/proc/self/fd/{}/{NAME}", open.as_raw_fd()));
    Ok((open, path))
}

impl ControlSocket {
    /// Listens in `directory`, which nobody else uses: what an earlier process has left there is removed.
    ///
    /// # Errors
    /// If the socket cannot be made.
    pub fn listen(directory: &Path) -> io::Result<Self> {
        let path = directory.join(NAME);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let (_open, short) = short(directory)?;
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket: OwnedFd = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        bind(&socket, &SocketAddrUnix::new(&short)?)?;
        // Nobody can connect before it listens, so nobody can be quicker than its mode.
        fs::set_permissions(&path, Permissions::from_mode(0o600))?;
        listen(&socket, 16)?;
        Ok(Self { listener: socket.into(), path })
    }

    /// Answers until the future is dropped.
    ///
    /// # Errors
    /// If the listening socket breaks.
    pub async fn serve(self, answer: Answer) -> io::Result<()> {
        let listener = tokio::net::UnixListener::from_std(self.listener.try_clone()?)?;
        let (answer, places) = (Arc::new(answer), Arc::new(Semaphore::new(QUESTIONS_MAX)));
        loop {
            let Ok(place) = Arc::clone(&places).acquire_owned().await else { return Ok(()) };
            let (stream, _) = listener.accept().await?;
            let answer = Arc::clone(&answer);
            tokio::spawn(async move {
                // Whoever asks and goes away hears nothing.
                let _ = converse(stream, &answer).await;
                drop(place);
            });
        }
    }
}

async fn converse(stream: tokio::net::UnixStream, answer: &Answer) -> io::Result<()> {
    let (read, mut write) = stream.into_split();
    let mut line = Vec::new();
    let mut read = BufReader::new(read.take(QUESTION_BYTES_MAX as u64 + 1));
    let told = match timeout(PATIENCE, read.read_until(b'\n', &mut line)).await {
        Ok(read) => match question(&line[..read?]) {
            Ok(question) => answer(question).await,
            Err(why) => refusal(&why),
        },
        Err(_) => refusal("no question came"),
    };
    let _ = timeout(PATIENCE, write.write_all(format!("{told}\n").as_bytes())).await;
    Ok(())
}

/// The question in a line.
///
/// # Errors
/// If it is none: why.
pub fn question(line: &[u8]) -> Result<Value, String> {
    if line.len() > QUESTION_BYTES_MAX {
        return Err(format!("a question has {QUESTION_BYTES_MAX} bytes at most"));
    }
    let value: Value =
        serde_json::from_slice(line).map_err(|error| format!("a question is a line of JSON: {error}"))?;
    match value.get("command").and_then(Value::as_str) {
        Some(_) => Ok(value),
        None => Err("a question names its `command`".to_string()),
    }
}

/// The answer to what is no question, or none that is known.
pub fn refusal(why: &str) -> Value {
    json!({ "code": 1, "error": why })
}

/// Asks the node that runs on `directory`, and waits for its answer as long as that takes.
///
/// # Errors
/// If nobody answers.
pub fn ask(directory: &Path, question: &Value) -> io::Result<Value> {
    let (_open, short) = short(directory)?;
    let mut stream = UnixStream::connect(short)?;
    stream.write_all(format!("{question}\n").as_bytes())?;
    let mut text = String::new();
    stream.take(ANSWER_BYTES_MAX).read_to_string(&mut text)?;
    serde_json::from_str(&text).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> PathBuf {
        // Longer than the path of a socket may be.
        let path = std::env::temp_dir().join(format!("aqueduct-{}-{name}-{}", "long".repeat(30), std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder");
        path
    }

    /// Asks while an echo is served.
    fn while_served<T: Send + 'static>(directory: &Path, act: impl FnOnce(&Path) -> T + Send + 'static) -> T {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let directory = directory.to_path_buf();
        let done = runtime.block_on(async move {
            let socket = ControlSocket::listen(&directory).expect("a socket");
            let echo: Answer = Box::new(|question| Box::pin(async move { json!({ "code": 0, "heard": question }) }));
            tokio::spawn(socket.serve(echo));
            tokio::task::spawn_blocking(move || act(&directory)).await
        });
        done.expect("it does not panic")
    }

    #[test]
    fn a_question_is_answered_to_its_user_alone_and_the_socket_goes_with_the_node() {
        let directory = scratch("answers");
        fs::write(directory.join(NAME), "left behind").expect("a file");
        while_served(&directory, |directory| {
            let mode = fs::metadata(directory.join(NAME)).expect("it is there").permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
            let told = ask(directory, &json!({ "command": "hello" })).expect("an answer");
            assert_eq!(told["heard"]["command"], "hello");
        });
        assert!(ask(&directory, &json!({ "command": "hello" })).is_err() && !directory.join(NAME).exists());
        fs::remove_dir_all(&directory).expect("goes");
    }

    #[test]
    fn what_is_no_question_is_refused_and_its_length_bounded() {
        let directory = scratch("refuses");
        while_served(&directory, |directory| {
            let long = [b' '; QUESTION_BYTES_MAX + 2];
            for (bytes, word) in
                [(&b"{}\n"[..], "names its `command`"), (b"hello\n", "line of JSON"), (&long, "bytes at most")]
            {
                let (_open, path) = short(directory).expect("a folder");
                let mut stream = UnixStream::connect(path).expect("it listens");
                let _ = stream.write_all(bytes);
                let mut text = Vec::new();
                // What was not read of a question that is too long ends the connection behind the answer.
                let _ = stream.read_to_end(&mut text);
                let text = String::from_utf8_lossy(&text);
                assert!(text.contains(word), "{text}");
            }
        });
        fs::remove_dir_all(&directory).expect("goes");
    }
}
