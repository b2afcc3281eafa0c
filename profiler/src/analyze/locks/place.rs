//! Which function of a program takes a lock.

use super::super::culprit;
use super::super::functions::is_lock_manager;
use super::sort::held;
use crate::model::Frame;

/// The innermost function of the program itself that takes the lock, beyond those that are made for it.
pub fn taken_in(stack: &[Frame]) -> Option<&str> {
    let is_held = |frame: &Frame| held(frame).is_some() || is_lock_manager(frame);
    let last = stack.iter().rposition(is_held).map_or(0, |last| last + 1);
    // `Mutex::lock` and its kind, of which debug information says just `lock`.
    let thin = |frame: &&Frame| matches!(frame.bare(), "lock" | "read" | "write" | "acquire");
    let thin = stack[last..].iter().take_while(thin).count();
    culprit(&stack[last + thin..]).or_else(|| culprit(stack))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::stack;
    use super::*;

    #[test]
    fn functions_made_for_locks_are_skipped() {
        let of = |names: &[&str]| taken_in(&stack(names)).map(str::to_owned);
        let parked =
            ["syscall", "futex_wait", "park", "lock_slow", "lock", "lock<u64>", "take", "main"];
        assert_eq!(of(&parked).as_deref(), Some("take"));
        let plain = ["__lll_lock_wait", "pthread_mutex_lock", "with_inventory", "main"];
        assert_eq!(of(&plain).as_deref(), Some("with_inventory"));
        assert_eq!(of(&[]), None);
    }
}
