//! Reads what the probes have noted of requests.

use std::os::fd::AsFd as _;

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use profiler_common::turn::{Conn, Label, Listener, PeerKey, PeerStats};

use super::KernelError;
use super::batch::{self, Plain};
use super::tables::{for_each, hash, take};
use super::warm::warm;

// SAFETY: `#[repr(C)]` without padding, integers only: any bytes are valid.
unsafe impl Plain for Conn {}
// SAFETY: as above.
unsafe impl Plain for Label {}
// SAFETY: as above.
unsafe impl Plain for PeerKey {}
// SAFETY: as above.
unsafe impl Plain for PeerStats {}
// SAFETY: as above.
unsafe impl Plain for Listener {}

/// The tables about requests.
pub struct RequestTables {
    turns: RingBuf<MapData>,
    conns: MapData,
    labels: MapData,
    peers: MapData,
    accept: MapData,
}

impl RequestTables {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, KernelError> {
        let turns = RingBuf::try_from(take(ebpf, "dwell_turns")?)
            .map_err(|error| KernelError::refused("dwell_turns", &error))?;
        Ok(Self {
            turns,
            conns: hash::<u64, Conn>(ebpf, "dwell_conns")?,
            labels: hash::<u64, Label>(ebpf, "dwell_labels")?,
            peers: hash::<PeerKey, PeerStats>(ebpf, "dwell_peers")?,
            accept: hash::<u64, Listener>(ebpf, "dwell_accept")?,
        })
    }

    /// Under keys that no probe uses: addresses of the kernel are not 0, ids are odd.
    pub(super) fn warm(&self) {
        // SAFETY: integers only: zero is valid.
        let (conn, label, peer) = unsafe { std::mem::zeroed::<(Conn, Label, PeerStats)>() };
        warm(self.conns.fd().as_fd(), &0u64, &conn);
        warm(self.labels.fd().as_fd(), &0u64, &label);
        warm(self.peers.fd().as_fd(), &PeerKey::default(), &peer);
    }

    /// Hands every finished turn that waits in the ring buffer to `each`.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        while let Some(item) = self.turns.next() {
            each(&item);
        }
    }

    /// Hands every connection to `each`.
    ///
    /// # Errors
    /// When the kernel refuses to read the table; likewise below.
    pub fn for_each_conn(&self, mut each: impl FnMut(&Conn)) -> Result<(), KernelError> {
        for_each(&self.conns, "dwell_conns", |_: u64, conn: &Conn| each(conn))
    }

    /// Removes a connection that is gone.
    pub fn forget_conn(&mut self, sock: u64) {
        batch::delete(self.conns.fd().as_fd(), &sock);
    }

    /// One label.
    pub fn label(&self, id: u64) -> Option<Label> {
        batch::lookup(self.labels.fd().as_fd(), &id)
    }

    /// Hands every label to `each`.
    pub fn for_each_label(&self, each: impl FnMut(u64, &Label)) -> Result<(), KernelError> {
        for_each(&self.labels, "dwell_labels", each)
    }

    /// Hands the calls to every peer to `each`.
    pub fn for_each_peer(&self, each: impl FnMut(PeerKey, &PeerStats)) -> Result<(), KernelError> {
        for_each(&self.peers, "dwell_peers", each)
    }

    /// Hands every listening socket of the target to `each`.
    pub fn for_each_listener(&self, mut each: impl FnMut(&Listener)) -> Result<(), KernelError> {
        for_each(&self.accept, "dwell_accept", |_: u64, listener: &Listener| each(listener))
    }

    pub(super) fn maps(&self) -> [&MapData; 4] {
        [&self.conns, &self.labels, &self.peers, &self.accept]
    }
}
