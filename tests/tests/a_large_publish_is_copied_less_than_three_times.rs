//! A large PUBLISH that comes in small pieces is not copied again with every piece.
//!
//! Setup: a shard in memory that has just been started, one client. Action: one message of 1 MiB in pieces of 1 KiB. Expectation:
//! after the read its bytes are copied less than three times until they lie in the batch that goes to Kafka.
//!
//! Copies are seen from outside. A read says where it puts its bytes: if that is not behind those of the read before, the
//! beginning of the packet has been copied elsewhere. And what the shard does with the whole packet lands in memory that had to
//! be allocated first, because nothing was there to be used again.

use std::cell::Cell;

use aqueduct_tests::in_memory::{Node, To, publishes};

const PAYLOAD_BYTES: usize = 1 << 20;
const PIECE_BYTES: usize = 1 << 10;

thread_local! {
    static ALLOCATED_BYTES: Cell<u64> = const { Cell::new(0) };
}

fn counted(call: &mut dyn FnMut()) {
    let found = allocation_counter::measure(call);
    ALLOCATED_BYTES.set(ALLOCATED_BYTES.get() + found.bytes_total);
}

#[test]
fn from_the_socket_to_the_batch() {
    let mut node = Node::new(To::Kafka(1), "");
    let conn = node.connect("camera");
    node.world.clients.recv_bytes_max = PIECE_BYTES;
    node.world.clients.watch_reads();
    node.around = counted;

    // Piece by piece, as they come from a network.
    let packet = publishes(1, 1..=1, "plant/camera", &vec![b'x'; PAYLOAD_BYTES]);
    let mut pieces = packet.chunks(PIECE_BYTES).peekable();
    let mut allocated_before_last = 0;
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            allocated_before_last = ALLOCATED_BYTES.get();
        }
        node.publish(conn, piece.to_vec());
        node.pass_ms(1);
    }
    for _ in 0..20 {
        node.pass_ms(5);
        node.answer();
    }
    assert_eq!(node.world.clients.acked(conn), [1]);

    let reads = node.world.clients.reads();
    assert_eq!(reads.iter().map(|(_, n)| n).sum::<usize>(), packet.len());
    let copied = moved_bytes(reads) + (ALLOCATED_BYTES.get() - allocated_before_last) as usize;
    assert!(copied < 3 * PAYLOAD_BYTES, "{copied} bytes copied for {PAYLOAD_BYTES}");
}

/// What was read before each read that is not put behind the one before.
fn moved_bytes(reads: &[(usize, usize)]) -> usize {
    let (mut moved, mut filled, mut end) = (0, 0, None);
    for &(address, n) in reads {
        if end.is_some_and(|end| end != address) {
            moved += filled;
        }
        filled += n;
        end = Some(address + n);
    }
    moved
}
