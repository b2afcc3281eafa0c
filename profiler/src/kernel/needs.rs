//! What a kernel must be able to do, so that dwell can keep books in it at all.

use btf_rs::{Btf, Type};

/// Something that came with a certain release. It is looked for itself, not by the release: kernels
/// of distributions have much that is newer than their number says.
struct Need {
    what: &'static str,
    sign: Sign,
}

/// How the kernel's type information shows it.
enum Sign {
    /// A helper that programs can call (`enum bpf_func_id`).
    Helper(&'static str),
    /// A structure.
    Structure(&'static str),
}

const NEEDS: [Need; 3] = [
    Need {
        what: "the current thread as a typed pointer (bpf_get_current_task_btf, Linux 5.11)",
        sign: Sign::Helper("BPF_FUNC_get_current_task_btf"),
    },
    Need {
        what: "the saved registers of a thread (bpf_task_pt_regs, Linux 5.15)",
        sign: Sign::Helper("BPF_FUNC_task_pt_regs"),
    },
    // Before, an entry is taken from the kernel's general allocator, which may wake a thread, for
    // which it needs the very lock that the scheduler holds when it calls the probes.
    Need {
        what: "tables that grow inside the scheduler (bpf_mem_alloc, Linux 6.1)",
        sign: Sign::Structure("bpf_mem_alloc"),
    },
];

/// What the kernel lacks, by name.
pub fn lacking(btf: &Btf) -> Vec<&'static str> {
    let lacks = NEEDS.into_iter().filter(|need| !shows(btf, &need.sign));
    lacks.map(|need| need.what).collect()
}

fn shows(btf: &Btf, sign: &Sign) -> bool {
    let named = |name| btf.resolve_types_by_name(name).unwrap_or_default().into_iter();
    match sign {
        Sign::Structure(name) => named(name).any(|found| matches!(found, Type::Struct(_))),
        Sign::Helper(name) => named("bpf_func_id").any(|found| {
            let Type::Enum(functions) = found else { return false };
            let mut functions = functions.members.iter();
            functions.any(|function| btf.resolve_name(function).is_ok_and(|own| own == *name))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_shown() {
        // Only a kernel can be asked, and those that tests run on have BTF and all that is needed.
        let Ok(btf) = Btf::from_file("/sys/kernel/btf/vmlinux") else { return };
        assert!(!shows(&btf, &Sign::Helper("BPF_FUNC_of_nobody")));
        assert!(!shows(&btf, &Sign::Structure("structure_of_nobody")));
        assert!(shows(&btf, &Sign::Helper("BPF_FUNC_map_lookup_elem")));
        assert!(shows(&btf, &Sign::Structure("task_struct")));
    }
}
