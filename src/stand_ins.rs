//! Functions that the static release binary has in place of the C library's, which would bring 330 kB with them.
//!
//! std and the C library refer to them whatever we do; what they answer here is what the callers take in their stride. A
//! C library that has no such function is no worse off.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};

/// `_URC_END_OF_STACK`, the unwinder's word for "no more frames" (Itanium C++ ABI, Exception Handling, 1.2.1).
const END_OF_STACK: c_int = 5;

/// Walks the stack for the backtrace of a panic. The binary has no unwind tables (build.rs), so libgcc's own would find
/// no frame either; since this one plainly never calls `trace`, std's reader of debug information goes, too.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Backtrace(_trace: *const c_void, _argument: *mut c_void) -> c_int {
    END_OF_STACK
}

/// Asks for the bounds of a thread's stack, so that std can say of a SIGSEGV that the stack was too small; without them
/// it is a plain SIGSEGV. glibc's reads them from /proc/self/maps with sscanf, and so brings all of formatted input.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: libc::pthread_t, _attributes: *mut libc::pthread_attr_t) -> c_int {
    libc::ENOSYS
}

/// Ends the process because of a fault inside the C library: what `assert` calls, as the Linux Standard Base has it.
/// glibc's puts the sentence into the user's language and into wide characters; this one names the assertion.
#[unsafe(no_mangle)]
extern "C" fn __assert_fail(assertion: *const c_char, _: *const c_char, _: c_uint, _: *const c_char) -> ! {
    // SAFETY: callers pass the text of the assertion, a constant that ends with a zero byte.
    let assertion = unsafe { CStr::from_ptr(assertion) };
    for part in [b"sidestep: the C library found a fault in itself: ", assertion.to_bytes(), b"; please report it\n"] {
        // SAFETY: the bytes live through the call, which only reads them; what cannot be written is lost.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
    std::process::abort()
}

/// Would load a module, for the conversion of some character set, and brings the dynamic loader for it. A static binary
/// has nothing to load, and this one converts nothing: there is no module.
#[unsafe(no_mangle)]
extern "C" fn __libc_dlopen_mode(_name: *const c_char, _mode: c_int) -> *mut c_void {
    std::ptr::null_mut()
}

/// Would find a symbol in such a module.
#[unsafe(no_mangle)]
extern "C" fn __libc_dlsym(_module: *mut c_void, _name: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

/// Would find a version of a symbol in such a module.
#[unsafe(no_mangle)]
extern "C" fn __libc_dlvsym(_module: *mut c_void, _name: *const c_char, _version: *const c_char) -> *mut c_void {
    std::ptr::null_mut()
}

/// Would unload such a module.
#[unsafe(no_mangle)]
extern "C" fn __libc_dlclose(_module: *mut c_void) -> c_int {
    0
}

/// Would write a floating-point number for printf(3). What the C library prints by itself has none, and Rust has its own.
#[unsafe(no_mangle)]
extern "C" fn __printf_fp(_file: *mut c_void, _how: *const c_void, _arguments: *const *const c_void) -> c_int {
    -1
}

/// The same in hexadecimal.
#[unsafe(no_mangle)]
extern "C" fn __printf_fphex(_file: *mut c_void, _how: *const c_void, _arguments: *const *const c_void) -> c_int {
    -1
}
