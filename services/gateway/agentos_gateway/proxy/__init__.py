"""The forward proxy: HTTP and CONNECT of programs that know nothing of us, through the same gate and on record."""
