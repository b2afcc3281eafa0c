//! Like-named threads.

/// The name under which like-named threads are one: each run of digits becomes `*`, so that
/// `worker-1` … `worker-32` are `worker-*`. A name without digits, or of digits only, stays.
pub fn group_name(comm: &str) -> String {
    if comm.bytes().all(|byte| byte.is_ascii_digit()) {
        return comm.to_owned();
    }
    let mut folded = String::with_capacity(comm.len());
    let mut in_number = false;
    for character in comm.chars() {
        let is_digit = character.is_ascii_digit();
        if !is_digit {
            folded.push(character);
        } else if !in_number {
            folded.push('*');
        }
        in_number = is_digit;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::group_name;

    #[test]
    fn numbers_fold_and_nothing_else() {
        assert_eq!(group_name("worker-1"), "worker-*");
        assert_eq!(group_name("worker-32"), "worker-*");
        assert_eq!(group_name("io_3_of_12"), "io_*_of_*");
        assert_eq!(group_name("redis-server"), "redis-server");
        assert_eq!(group_name("42"), "42");
        assert_eq!(group_name(""), "");
    }
}
