//! Lets the probes read the kernel's memory by plain loads instead of calls, where `bpf_rdonly_cast` is to be had
//! (Linux 6.2).
//!
//! That function of the kernel makes any number a pointer to a structure, through which a program may read. The
//! verifier puts a move in the place of its call, and the kernel catches the fault of a load that fails. aya
//! does not know calls of the kernel's own functions, which are made by their number in the kernel's BTF. So the
//! probes call a helper that there is not, and here these calls become what they should be.

use std::borrow::Cow;

use btf_rs::{Btf, Type};
use profiler_common::kernel::{CAST_CALL, KernelLayout};

const CAST: &str = "bpf_rdonly_cast";

/// A structure that begins with a 64-bit number: of such, the verifier allows to read any part
/// (`btf_struct_walk`, kernel/bpf/btf.c).
const WORD: &str = "timespec64";

/// Opcode and registers of a call of a helper, and of a call of a function of the kernel
/// (`BPF_JMP | BPF_CALL`, `BPF_PSEUDO_KFUNC_CALL`; include/uapi/linux/bpf.h).
const HELPER_CALL: [u8; 4] = [0x85, 0, 0, 0];
const KERNEL_CALL: [u8; 4] = [0x85, 0x20, 0, 0];

/// Numbers of the function and of the structure; none where the kernel lacks one of them.
pub fn numbers(btf: &Btf) -> Option<(u32, u32)> {
    let number = |name, is_wanted: fn(&Type) -> bool| {
        let numbers = btf.resolve_ids_by_name(name).ok()?.into_iter();
        numbers
            .into_iter()
            .find(|id| btf.resolve_type_by_id(*id).is_ok_and(|found| is_wanted(&found)))
    };
    let function = number(CAST, |found| matches!(found, Type::Func(_)))?;
    let word = number(WORD, |found| matches!(found, Type::Struct(_)))?;
    Some((function, word))
}

/// The object with its calls as the kernel wants them.
pub fn put_into<'a>(object: Cow<'a, [u8]>, layout: &KernelLayout) -> Cow<'a, [u8]> {
    if layout.cast_function == 0 {
        return object;
    }
    let mut object = object.into_owned();
    let (instructions, _) = object.as_chunks_mut::<8>();
    for instruction in instructions {
        if instruction[..4] == HELPER_CALL && instruction[4..] == CAST_CALL.to_le_bytes() {
            instruction[..4].copy_from_slice(&KERNEL_CALL);
            instruction[4..].copy_from_slice(&layout.cast_function.to_le_bytes());
        }
    }
    Cow::Owned(object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_calls_become_others() {
        let call = |head: [u8; 4], number: u32| [&head, &number.to_le_bytes()[..]].concat();
        let object = |cast: Vec<u8>| -> Cow<'_, [u8]> {
            let others = call([0x85, 0x10, 0, 0], CAST_CALL);
            Cow::Owned([call(HELPER_CALL, 5), cast, others, vec![1, 2, 3]].concat())
        };
        let before = object(call(HELPER_CALL, CAST_CALL));
        let layout = KernelLayout { cast_function: 77, ..KernelLayout::ABSENT };
        assert_eq!(put_into(before.clone(), &layout), object(call(KERNEL_CALL, 77)));
        assert_eq!(put_into(before.clone(), &KernelLayout::ABSENT), before);
    }
}
