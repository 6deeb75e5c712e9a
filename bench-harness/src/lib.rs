//! `aqueduct-bench`: measures the whole system, and proves what it promises.
//!
//! It starts what it measures (Kafka included), drives it with a generator of its own, reads Kafka back, and says in one
//! line of JSON and a table what was delivered, lost, doubled and reordered, what it cost and how long it took. It shares
//! no code with the product, so that what judges cannot have the mistakes of what is judged.
//!
//! This is a library only so that the test programs can use its parts; the binary is `main.rs`.
//!
//! Exit codes: 0 all good, 1 something was lost, doubled, reordered or failed, 2 usage, 77 no Kafka on this machine,
//! 130 interrupted.

pub mod ceiling;
pub mod chaos;
pub mod cli;
pub mod compare;
pub mod disk;
pub mod generator;
pub mod kill;
pub mod ledger;
pub mod machine;
pub mod measure;
pub mod message;
pub mod mqtt_wire;
pub mod progress;
pub mod random;
pub mod reaper;
pub mod report;
pub mod result;
pub mod results;
pub mod run;
pub mod scrape;
pub mod syscalls;
pub mod system;
pub mod table;
pub mod verify;
pub mod workload;
