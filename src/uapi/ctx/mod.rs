//! The contexts of programs and the read-only views of sockets: where each field is.

mod field;
pub mod iter_sockmap;
pub mod iter_storage;
pub mod iter_task_file;
pub mod sk_msg;
pub mod sock;
pub mod sock_ops;
pub mod sockopt;
pub mod tcp_sock;

pub use field::Field;

use field::fields;

/// Whether the fields are in order, do not overlap, and end by `size`.
#[cfg(test)]
fn are_disjoint(fields: &[Field], size: u32) -> bool {
    let ends = fields.iter().skip(1).map(|field| field.offset).chain([size]);
    fields.iter().zip(ends).all(|(field, next)| field.offset + field.size <= next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap() {
        for (fields, size) in [
            (sock_ops::FIELDS, sock_ops::SIZE),
            (sk_msg::FIELDS, sk_msg::SIZE),
            (sockopt::FIELDS, sockopt::SIZE),
            (iter_sockmap::FIELDS, iter_sockmap::SIZE),
            (iter_storage::FIELDS, iter_storage::SIZE),
            (iter_task_file::FIELDS, iter_task_file::SIZE),
            (sock::FIELDS, sock::SIZE),
            (tcp_sock::FIELDS, tcp_sock::SIZE),
        ] {
            assert!(are_disjoint(fields, size), "{fields:?}");
        }
    }
}
