//! `inet_sock_set_state`: which TCP ports are listened on, for the roles of connections.

use super::hook;
use crate::socket::on_state_change;

hook!("inet_sock_set_state", dwell_sockstate, dwell_sockstate_raw, |context| {
    let state: u64 = context.arg(2);
    on_state_change(context.arg(0), state as u32)
});
