//! `inet_sock_set_state`: which TCP ports are listened on, for the roles of connections; and the end of
//! connections.

use super::{clock, hook};
use crate::socket::{LISTENING, begins_to_listen};
use crate::{conn, globals, turn};

hook!("inet_sock_set_state", dwell_sockstate, dwell_sockstate_raw, |context| {
    let state: u64 = context.arg(2);
    let sock: u64 = context.arg(0);
    if state as u32 == LISTENING as u32 {
        begins_to_listen(sock);
    } else if globals::requests() != 0
        && state as u32 == conn::CLOSED
        && let Some((_, start)) = clock()
    {
        turn::closed(sock, start);
    }
});
