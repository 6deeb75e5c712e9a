//! A server that follows a script, and the program that talks to it. The server writes its packets by hand: what it and the
//! program's codec got wrong together would pass unseen.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

/// CONNACK of MQTT 5: success, no properties.
pub(crate) const CONNACK: &[u8] = &[0x20, 3, 0, 0, 0];

/// A listener whose first client meets `script`.
pub(crate) struct Peer {
    pub(crate) port: u16,
    thread: JoinHandle<()>,
}

impl Peer {
    pub(crate) fn start(script: impl FnOnce(&mut Conversation) + Send + 'static) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            // A client that hangs fails its test; it does not hang it.
            stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
            script(&mut Conversation { stream });
        });
        Self { port, thread }
    }

    /// Runs the program against it: `{command} -p PORT {arguments}`, with `input` on stdin.
    #[track_caller]
    pub(crate) fn run(self, command: &str, arguments: &[&str], input: &[u8]) -> Ended {
        let port = self.port.to_string();
        let ended = run(&[&[command, "-p", &port], arguments].concat(), input);
        if let Err(panic) = self.thread.join() {
            eprintln!("the program said:\n{}{}", ended.out, ended.err);
            std::panic::resume_unwind(panic);
        }
        ended
    }

    /// Waits until the script is over.
    #[track_caller]
    pub(crate) fn join(self) {
        self.thread.join().expect("the script was followed");
    }
}

/// One client.
pub(crate) struct Conversation {
    stream: TcpStream,
}

impl Conversation {
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// False if the client is gone.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next packet, header and all.
    #[track_caller]
    pub(crate) fn packet(&mut self) -> Vec<u8> {
        let mut packet = self.bytes(2);
        let (mut len, mut shift) = (usize::from(packet[1] & 0x7f), 7);
        while packet[packet.len() - 1] & 0x80 != 0 {
            packet.extend(self.bytes(1));
            len |= usize::from(packet[packet.len() - 1] & 0x7f) << shift;
            shift += 7;
        }
        packet.extend(self.bytes(len));
        packet
    }

    #[track_caller]
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        let mut bytes = vec![0; n];
        self.stream.read_exact(&mut bytes).expect("the client sends more");
        bytes
    }

    #[track_caller]
    pub(crate) fn expect(&mut self, bytes: &[u8]) {
        assert_eq!(self.packet(), bytes);
    }

    /// Takes a CONNECT and lets the client in.
    #[track_caller]
    pub(crate) fn accept(&mut self) {
        assert_eq!(self.packet()[0], 0x10, "CONNECT");
        self.send(CONNACK);
    }

    /// Takes a DISCONNECT, after which nothing comes.
    #[track_caller]
    pub(crate) fn goodbye(&mut self) {
        self.expect(&[0xe0, 0]);
        assert_eq!(self.stream.read(&mut [0]).unwrap(), 0);
    }

    /// Reads no more for a while.
    pub(crate) fn pause(&self, ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// What became of the program.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn check(&self, code: i32, out: &str, err: &[&str]) {
        assert_eq!((self.code, &*self.out), (code, out), "{}", self.err);
        for part in err {
            assert!(self.err.contains(part), "{part:?} in\n{}", self.err);
        }
        assert!(!err.is_empty() || self.err.is_empty(), "{}", self.err);
    }
}

/// Runs the program.
#[track_caller]
pub(crate) fn run(arguments: &[&str], input: &[u8]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_aqueduct"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that has seen enough closes its stdin.
    let _ = child.stdin.take().unwrap().write_all(input);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Ended { code: status.code().expect("no signal"), out: text(stdout), err: text(stderr) }
}
