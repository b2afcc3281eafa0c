//! `inet_sock_set_state`: which TCP ports are listened on, for the roles of connections; and the end of
//! connections.

use super::{clock, hook};
use crate::socket::{LISTENING, begins_to_listen};
use crate::{conn, globals, peer, turn};

hook!("inet_sock_set_state", dwell_sockstate, dwell_sockstate_raw, |context| {
    let state: u64 = context.arg(2);
    let sock: u64 = context.arg(0);
    if state as u32 == LISTENING as u32 {
        begins_to_listen(sock);
    } else if globals::requests() != 0 {
        changes(sock, state as u32);
    }
});

#[inline(always)]
fn changes(sock: u64, state: u32) {
    let Some((_, start)) = clock() else { return };
    match state {
        conn::CLOSED => turn::closed(sock, start),
        conn::CONNECTING => peer::connects(sock),
        _ => {}
    }
}
