"""Which system calls a process that tries a model has no use for, by what they would reach."""

from __future__ import annotations

from typing import Final

OTHER_PROCESSES: Final = [
    "ptrace",
    "process_vm_readv",
    "process_vm_writev",
    "kcmp",
    "pidfd_open",
    "pidfd_getfd",
    "pidfd_send_signal",
    "process_madvise",
    "process_mrelease",
    "perf_event_open",
    "move_pages",
    "migrate_pages",
]
SYSTEM: Final = [
    "bpf",
    "userfaultfd",
    "io_uring_setup",
    "mount",
    "umount2",
    "pivot_root",
    "chroot",
    "setns",
    "unshare",
    "open_tree",
    "move_mount",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "open_by_handle_at",
    "init_module",
    "finit_module",
    "delete_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "swapon",
    "swapoff",
    "settimeofday",
    "clock_settime",
    "adjtimex",
    "clock_adjtime",
    "sethostname",
    "setdomainname",
    "acct",
    "quotactl",
    "syslog",
    "iopl",
    "ioperm",
    "add_key",
    "request_key",
    "keyctl",
]
NEW_PROCESSES: Final = ("fork", "vfork", "execve", "execveat")
USERS: Final = [
    "setuid",
    "setgid",
    "setreuid",
    "setregid",
    "setresuid",
    "setresgid",
    "setgroups",
    "setfsuid",
    "setfsgid",
    "capset",
]
CHANGES: Final = [
    "creat",
    "rename",
    "renameat",
    "renameat2",
    "mkdir",
    "mkdirat",
    "rmdir",
    "link",
    "linkat",
    "unlink",
    "unlinkat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "truncate",
]
CHANGES_OF_RIGHTS: Final = [
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "setxattrat",
    "removexattr",
    "lremovexattr",
    "fremovexattr",
    "removexattrat",
    "utime",
    "utimes",
    "futimesat",
    "utimensat",
]
"""What Landlock leaves open: rights, owners, times of files that cannot be opened."""
SHARED: Final = [
    "shmget",
    "shmat",
    "shmctl",
    "msgget",
    "msgsnd",
    "msgrcv",
    "msgctl",
    "semget",
    "semop",
    "semtimedop",
    "semctl",
    "mq_open",
    "mq_unlink",
]
"""What processes of one user share by numbers, which are small and can be guessed."""
WATCHING: Final = ("inotify_init", "inotify_init1", "fanotify_init")
"""What tells names in folders that Landlock lets nobody list."""
SESSIONS: Final = ("setsid", "setpgid")
SIGNALS: Final = ("kill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo")
SCHEDULING: Final = ("sched_setparam", "sched_setscheduler", "sched_setattr")
OWNERS_BY_FCNTL: Final = (8, 10, 15, 1024, 1026)
"""F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE and F_NOTIFY: who gets which signal when something
happens to an open file (fcntl(2)). With a pipe of its own, a process could so send SIGKILL to
another."""
OWNERS_BY_IOCTL: Final = (0x8901, 0x8902)
"""FIOSETOWN and SIOCSPGRP: the same of a socket."""
