//! The book of a run: what each client sent and what it was told, written by the process that sends.
//!
//! Entries reach the kernel by one `write` each, `sent` before the socket write and the answers after the read; the file
//! survives its writer.
//!
//! ```text
//! file   | 'AQTRUTH2' | run: u64 | payload_bytes: u32 | routes: u8 | entry... |
//! entry  | kind | client: u32 | first sequence: u32 | count: u32 | detail: u16 | time_ns: u64 |         numbers big-endian
//! kind   'C' a client: `first` is its QoS       'S' sent: `detail` is the attempt, from 0
//!        'A' acknowledged                       'N' refused: `detail` is the reason code
//!        'G' a topic has more partitions        'D' a topic is gone, with all it held: nobody knows it any more
//!            than before: `client` is its           `client` is its route
//!            route
//! ```

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::path::Path;

use miette::{IntoDiagnostic, Result, WrapErr, bail};

/// The first bytes of a book; the benchmarks' truth has others.
pub const MAGIC: &[u8; 8] = b"AQTRUTH2";
const HEAD_BYTES: usize = 8 + 8 + 4 + 1;
const ENTRY_BYTES: usize = 23;

/// The book while it is written.
pub struct BookWriter {
    file: File,
}

impl BookWriter {
    /// Starts an empty book.
    pub fn create(path: &Path, run: u64, payload_bytes: usize, routes: u8) -> Result<Self> {
        // Whoever joins writes behind what is there, and so do we.
        let _ = std::fs::remove_file(path);
        let file = File::options().create_new(true).append(true).open(path).into_diagnostic();
        let mut file = file.wrap_err_with(|| path.display().to_string())?;
        let mut head = MAGIC.to_vec();
        head.extend_from_slice(&run.to_be_bytes());
        head.extend_from_slice(&(payload_bytes as u32).to_be_bytes());
        head.push(routes);
        file.write_all(&head).into_diagnostic()?;
        Ok(Self { file })
    }

    /// Opens a book that another writes at the same time, to add what becomes of the topics.
    pub fn join(path: &Path) -> Result<Self> {
        let file = File::options().append(true).open(path).into_diagnostic();
        Ok(Self { file: file.wrap_err_with(|| path.display().to_string())? })
    }

    /// The topic of this route is about to get more partitions.
    pub fn grows(&mut self, route: u8, now_ns: u64) -> Result<()> {
        self.entry(b'G', u32::from(route), [0, 0], 0, now_ns)
    }

    /// The topic of this route is gone from every broker, with all that was acknowledged.
    pub fn gone(&mut self, route: u8, now_ns: u64) -> Result<()> {
        self.entry(b'D', u32::from(route), [0, 0], 0, now_ns)
    }

    /// There is this client, and it publishes at this QoS.
    pub fn client(&mut self, client: u32, qos: u8) -> Result<()> {
        self.entry(b'C', client, [u32::from(qos), 0], 0, 0)
    }

    /// `count` messages from `first` on are about to be written to the socket, for the first time or again.
    pub fn sent(&mut self, client: u32, first: u32, count: u32, attempt: u16, now_ns: u64) -> Result<()> {
        self.entry(b'S', client, [first, count], attempt, now_ns)
    }

    /// `count` messages from `first` on have been acknowledged.
    pub fn acked(&mut self, client: u32, first: u32, count: u32, now_ns: u64) -> Result<()> {
        self.entry(b'A', client, [first, count], 0, now_ns)
    }

    /// A message has been refused.
    pub fn nacked(&mut self, client: u32, sequence: u32, reason: u8, now_ns: u64) -> Result<()> {
        self.entry(b'N', client, [sequence, 1], u16::from(reason), now_ns)
    }

    fn entry(&mut self, kind: u8, client: u32, numbers: [u32; 2], detail: u16, now_ns: u64) -> Result<()> {
        let mut entry = [0; ENTRY_BYTES];
        entry[0] = kind;
        entry[1..5].copy_from_slice(&client.to_be_bytes());
        entry[5..9].copy_from_slice(&numbers[0].to_be_bytes());
        entry[9..13].copy_from_slice(&numbers[1].to_be_bytes());
        entry[13..15].copy_from_slice(&detail.to_be_bytes());
        entry[15..].copy_from_slice(&now_ns.to_be_bytes());
        self.file.write_all(&entry).into_diagnostic().wrap_err("writing the book")
    }
}

/// What a client was told of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Nothing: it may be in Kafka or not.
    None,
    /// Acknowledged at this time: it must be in Kafka.
    Acked(u64),
    /// Refused with this reason, at this time: it may be in Kafka or not.
    Nacked(u8, u64),
}

/// One message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When it was first sent.
    pub first_ns: u64,
    /// How often it was sent.
    pub attempts: u16,
    /// What came of it.
    pub answer: Answer,
}

/// One client.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientPage {
    /// 1 or 2.
    pub qos: u8,
    /// By sequence.
    pub messages: Vec<Sent>,
}

/// The book as a judge reads it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Book {
    /// Which run.
    pub run: u64,
    /// Payload size of every message.
    pub payload_bytes: usize,
    /// Kafka topics that messages are divided over.
    pub routes: u8,
    /// By client index.
    pub clients: BTreeMap<u32, ClientPage>,
    /// By route: how often its topic was given more partitions.
    pub growths: BTreeMap<u8, u32>,
    /// By route: when its topic was last gone from every broker.
    pub gone_ns: BTreeMap<u8, u64>,
}

impl Book {
    /// Reads a book; an entry torn at its end is left out, anything else that is wrong is an error.
    pub fn read(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).into_diagnostic().wrap_err_with(|| path.display().to_string())?;
        Self::parse(&bytes).wrap_err_with(|| path.display().to_string())
    }

    fn parse(bytes: &[u8]) -> Result<Self> {
        if !bytes.starts_with(MAGIC) || bytes.len() < HEAD_BYTES {
            bail!("not a book of the ledger");
        }
        let mut book =
            Self { run: long(bytes, 8), payload_bytes: word(bytes, 16) as usize, routes: bytes[20], ..Self::default() };
        for (number, entry) in (0_usize..).zip(bytes[HEAD_BYTES..].chunks_exact(ENTRY_BYTES)) {
            if book.take(entry).is_none() {
                bail!("entry {number} contradicts those before it");
            }
        }
        Ok(book)
    }

    fn take(&mut self, entry: &[u8]) -> Option<()> {
        let (client, first, count) = (word(entry, 1), word(entry, 5) as usize, word(entry, 9) as usize);
        let (detail, now_ns) = (u16::from_be_bytes([entry[13], entry[14]]), long(entry, 15));
        match entry[0] {
            b'C' => drop(self.clients.insert(client, ClientPage { qos: first as u8, messages: Vec::new() })),
            b'G' => *self.growths.entry(u8::try_from(client).ok()?).or_default() += 1,
            b'D' => drop(self.gone_ns.insert(u8::try_from(client).ok()?, now_ns)),
            _ => return self.take_message(entry[0], (client, first, count), detail, now_ns),
        }
        Some(())
    }

    fn take_message(
        &mut self,
        kind: u8,
        (client, first, count): (u32, usize, usize),
        detail: u16,
        now_ns: u64,
    ) -> Option<()> {
        let messages = &mut self.clients.get_mut(&client)?.messages;
        if kind == b'S' && first == messages.len() && detail == 0 {
            messages.resize(first + count, Sent { first_ns: now_ns, attempts: 1, answer: Answer::None });
            return Some(());
        }
        for message in messages.get_mut(first..first + count)? {
            match kind {
                b'S' if message.answer == Answer::None => message.attempts = detail + 1,
                b'A' if message.answer == Answer::None => message.answer = Answer::Acked(now_ns),
                b'N' if message.answer == Answer::None => message.answer = Answer::Nacked(detail as u8, now_ns),
                _ => return None,
            }
        }
        Some(())
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    bytes[at..].first_chunk().map_or(0, |four| u32::from_be_bytes(*four))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    bytes[at..].first_chunk().map_or(0, |eight| u64::from_be_bytes(*eight))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl Fn(&mut BookWriter) -> Result<()>) -> Vec<u8> {
        let path = std::env::temp_dir().join(format!("aqueduct-book-{:?}", std::thread::current().id()));
        write(&mut BookWriter::create(&path, 42, 128, 2).unwrap()).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        bytes
    }

    #[test]
    fn a_book_tells_attempts_and_answers() {
        let bytes = written(|book| {
            book.client(7, 2)?;
            book.sent(7, 0, 3, 0, 10)?;
            book.acked(7, 0, 1, 20)?;
            book.nacked(7, 2, 0x97, 25)?;
            book.sent(7, 1, 1, 1, 30)
        });
        let book = Book::parse(&bytes).unwrap();
        let answers = [(1, Answer::Acked(20)), (2, Answer::None), (1, Answer::Nacked(0x97, 25))];
        let messages = answers.map(|(attempts, answer)| Sent { first_ns: 10, attempts, answer }).to_vec();
        assert_eq!((book.run, book.payload_bytes, book.routes), (42, 128, 2));
        assert_eq!(book.clients[&7], ClientPage { qos: 2, messages });
        let torn = Book::parse(&bytes[..bytes.len() - 1]).unwrap();
        assert_eq!(torn.clients[&7].messages[1].attempts, 1);
    }

    #[test]
    fn what_becomes_of_topics_is_added_by_another_hand() {
        let path = std::env::temp_dir().join(format!("aqueduct-joined-{}", std::process::id()));
        let mut own = BookWriter::create(&path, 42, 128, 2).unwrap();
        own.client(7, 1).unwrap();
        let mut other = BookWriter::join(&path).unwrap();
        other.grows(1, 5).unwrap();
        own.sent(7, 0, 1, 0, 10).unwrap();
        other.gone(0, 20).unwrap();
        other.gone(0, 30).unwrap();
        own.acked(7, 0, 1, 40).unwrap();
        let book = Book::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert_eq!((book.growths, book.gone_ns), (BTreeMap::from([(1, 1)]), BTreeMap::from([(0, 30)])));
        assert_eq!(book.clients[&7].messages[0].answer, Answer::Acked(40));
    }

    #[test]
    fn what_cannot_have_happened_is_refused() {
        let check = |write: fn(&mut BookWriter) -> Result<()>| assert!(Book::parse(&written(write)).is_err());
        check(|book| book.acked(1, 0, 1, 0));
        check(|book| book.client(1, 1).and_then(|()| book.acked(1, 0, 1, 0)));
        check(|book| book.client(1, 1).and_then(|()| book.sent(1, 1, 1, 0, 0)));
    }
}
