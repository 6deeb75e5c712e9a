//! The records of any number of scripts, as their topics hold them.

use std::collections::BTreeMap;

use super::{CLIENTS_MAX, SINKS, Script};
use crate::message::MessageId;

/// What a record says: its number, its length, and its key.
type Seen = (u32, usize, Option<Vec<u8>>);

/// Records by publisher, sink and partition, in the order of the log.
#[derive(Debug, Default)]
pub struct Records {
    seen: BTreeMap<(u16, usize, u32), Vec<Seen>>,
    /// What is no message of a script.
    foreign: Vec<String>,
}

impl Records {
    /// A record of a sink's topic, in the order of its partition.
    pub fn note(&mut self, sink: usize, partition: u32, key: Option<&[u8]>, value: &[u8]) {
        match MessageId::read(value) {
            Ok(id) => {
                let of = self.seen.entry((id.client, sink, partition)).or_default();
                of.push((id.seq, value.len(), key.map(<[u8]>::to_vec)));
            }
            Err(why) => self.foreign.push(format!("{}-{partition} holds {why}", SINKS[sink].0)),
        }
    }

    /// The lines of one script.
    pub fn lines(&self, script: &Script) -> Vec<String> {
        let mut lines = self.foreign.clone();
        let range = (script.publisher(0), 0, 0)..(script.publisher(CLIENTS_MAX - 1), SINKS.len(), 0);
        for (&(publisher, sink, partition), seen) in self.seen.range(range) {
            let role = usize::from(publisher) % CLIENTS_MAX;
            let key = script.client_id(role);
            let mut line = format!("{}-{partition} from c{role}", SINKS[sink].0);
            for (seq, len, found) in seen {
                line.push_str(&format!(" {seq}({len})"));
                if found.as_deref() != Some(key.as_bytes()) {
                    line.push_str(&format!(" with key {found:?}"));
                }
            }
            lines.push(line);
        }
        lines
    }
}
