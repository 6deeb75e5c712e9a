//! Processes, folders, ports and peers for tests of the whole: our own binary, real Kafka, clients that others wrote.
//!
//! Nothing here uses our codecs: what both sides of a test get wrong together would pass unseen. Everything started here
//! ends with its owner, by process id.

pub mod build;
pub mod cgroup;
pub mod chaos;
pub mod deadline;
pub mod flow;
pub mod hog;
pub mod hosts;
pub mod http;
pub mod kafka;
pub mod mqtt;
pub mod node;
pub mod over;
pub mod peer;
pub mod port;
pub mod scratch;
pub mod small_disk;
pub mod sockets;
pub mod token;
pub mod tracer;
pub mod wait;
