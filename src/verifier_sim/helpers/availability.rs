//! Which program types may call which helper, by kernel. Measured by loading a call of each helper into each kernel.

use crate::verifier_sim::spec::{Kernel, ProgType};

/// The helpers that a type could call first on Linux 5.10, 6.1, 6.12 and 6.18. None was ever taken away.
type Added = [&'static [u8]; 4];

/// Of SK_MSG.
const SK_MSG: Added = [
    &[
        1, 2, 3, 5, 6, 7, 8, 12, 14, 15, 17, 25, 35, 42, 60, 61, 62, 63, 71, 80, 87, 88, 89, 90, 91, 93, 94, 107, 108,
        112, 113, 114, 115, 118, 123, 125, 130, 131, 132, 133, 134, 136, 137, 138, 139, 140, 149, 153, 154,
    ],
    &[
        105, 106, 122, 158, 160, 164, 165, 169, 170, 171, 172, 175, 177, 178, 181, 182, 194, 195, 196, 197, 198, 199,
        200, 201, 202, 203, 208, 209,
    ],
    &[120, 210, 211],
    &[16, 22, 37, 55, 109, 117, 141, 148, 156, 157, 176, 180, 191],
];

/// Of SOCK_OPS.
const SOCK_OPS: Added = [
    &[
        1, 2, 3, 5, 6, 7, 8, 12, 25, 35, 42, 46, 49, 53, 57, 59, 70, 81, 87, 88, 89, 93, 94, 96, 107, 108, 112, 113,
        114, 115, 118, 125, 130, 131, 132, 133, 134, 136, 137, 138, 139, 140, 142, 143, 144, 149, 153, 154,
    ],
    &[
        105, 106, 122, 158, 160, 164, 165, 169, 170, 171, 172, 175, 177, 178, 181, 182, 194, 195, 196, 197, 198, 199,
        200, 201, 202, 203, 208, 209,
    ],
    &[14, 80, 120, 123, 210, 211],
    &[15, 16, 17, 22, 37, 55, 109, 117, 141, 148, 156, 157, 176, 180, 191],
];

/// Whether programs of type `prog` may call helper `number`.
pub(in crate::verifier_sim) fn available(number: i32, prog: ProgType, kernel: Kernel) -> bool {
    let Ok(number) = u8::try_from(number) else { return false };
    let added = match prog {
        ProgType::SK_MSG => &SK_MSG,
        ProgType::SOCK_OPS => &SOCK_OPS,
        _ => return false,
    };
    Kernel::ALL.iter().zip(added).any(|(since, added)| *since <= kernel && added.contains(&number))
}
