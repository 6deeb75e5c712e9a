use std::fs;
use std::path::PathBuf;

use rustix::io::Errno;

use super::*;
use crate::log::journal::rescue::broken::Broken;
use crate::log::journal::rig;
use crate::shard::ShardId;

const PAGE: usize = 4096;

/// A segment of three entries on a disk with broken pages; it goes with the test.
struct Rig {
    place: JournalPlace,
    disk: Broken,
}

impl Rig {
    /// The first two entries take whole pages, so that the third, which is small, begins one.
    fn new(name: &str, page: u64, errno: Errno) -> Self {
        let root = std::env::temp_dir().join(format!("aqueduct-segment-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&root);
        let (dir, quarantine) = (root.join("d"), root.join("quarantine"));
        fs::create_dir_all(&dir).expect("a writable directory");
        let place = JournalPlace { dir, quarantine, mark: 7, sink: 0, shard: ShardId(0) };
        let bytes = [whole_pages(0), whole_pages(1), rig::entry(2, 0, b"value", 7)].concat();
        fs::write(place.segment_path(3), &bytes).expect("a file");
        Self { place, disk: Broken { bytes, pages: vec![page], errno: errno.raw_os_error() } }
    }

    fn read(&self) -> io::Result<Segment> {
        Segment::read_from(&self.disk, self.disk.bytes.len() as u64, &self.place, 3)
    }

    fn set_aside(&self) -> Vec<PathBuf> {
        let mut found: Vec<PathBuf> =
            fs::read_dir(&self.place.quarantine).into_iter().flatten().flatten().map(|e| e.path()).collect();
        found.sort();
        found
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        let _ = self.place.dir.parent().map(fs::remove_dir_all);
    }
}

/// An entry of four pages.
fn whole_pages(number: u64) -> Vec<u8> {
    let of = |bytes: usize| rig::entry(number, 0, &vec![b'x'; bytes], 7);
    let most = 4 * PAGE;
    of(most - (of(most).len() - most))
}

fn check(name: &str, page: u64, left: &[u64], damaged: Stretch) {
    let rig = Rig::new(name, page, Errno::IO);
    let found = rig.read().expect("the rest is read");
    assert_eq!(found.items.iter().map(|item| item.number).collect::<Vec<_>>(), left);
    assert_eq!((found.damaged.as_slice(), found.lost_bytes), (&[damaged][..], PAGE as u64));
    let note = found.note(&rig.place, 3).expect("people are told");
    assert!(note.contains("0000000003.journal") && note.contains("did not give 4096 bytes"), "{note}");
    let [aside, whole] = &rig.set_aside()[..] else { panic!("{:?}", rig.set_aside()) };
    assert_eq!(fs::read(aside).expect("what was read").len() as u64, damaged.bytes);
    fs::remove_file(rig.place.segment_path(3)).expect("the segment goes");
    assert_eq!(fs::read(whole).expect("the file"), rig.disk.bytes, "nothing that was not read goes with it");
}

#[test]
fn a_broken_sector_costs_the_entry_it_lies_in() {
    check("middle", 6, &[0, 2], Stretch { at: 4 * PAGE as u64, bytes: 4 * PAGE as u64 });
    check("first", 0, &[1, 2], Stretch { at: 0, bytes: 4 * PAGE as u64 });
}

/// Zeros at the end are space that nobody wrote, unless they stand for what the disk did not give.
#[test]
fn a_broken_sector_at_the_end_is_no_torn_write() {
    let bytes = rig::entry(2, 0, b"value", 7).len() as u64;
    check("end", 8, &[0, 1], Stretch { at: 8 * PAGE as u64, bytes });
}

#[test]
fn a_file_that_cannot_be_read_now_is_no_damage() {
    for errno in [Errno::NOMEM, Errno::MFILE, Errno::ISDIR] {
        let rig = Rig::new("now", 6, errno);
        assert_eq!(rig.read().expect_err("it is told").raw_os_error(), Some(errno.raw_os_error()));
        assert!(rig.set_aside().is_empty());
    }
}
