"""Hashes of PASSWORD by other programs (crypt(3), hashlib, the reference Argon2), in every form
that an import accepts: the bounds of the costs, the shortest and the longest salts, with braces and
without.
"""

PASSWORD = "violet-harbor-sings-42"
HASHES = (
    "{ARGON2ID}$argon2id$v=19$m=65536,t=4,p=4$AAECAwQFBgcICQoLDA0ODw$+aaOUYJz/KMBSF3kp7PTXBN6oWk66oES2kyjlrrxTp0",
    "{ARGON2I}$argon2i$v=19$m=65536,t=4,p=4$AAECAwQFBgcICQoLDA0ODw$Gpw6/H+Xr3o5eFRQ7gyCN4v1en+Td+yDNS+I9jniu0w",
    "$argon2id$v=19$m=32,t=1,p=4$AAECAwQFBgc$pRG22SF2hh2aFhm8X8qd6w",
    "{argon2id}$argon2id$v=19$m=4096,t=2,p=1$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8gISIjJCUmJygpKissLS4vMDEyMzQ1Njc4OTo7PD0+Pw$gtTwXgiDfs98O0RclQpC5RJTuRNP8J52sDyzZQ1/hwtFVOBcyGC0eG4qtvZbKzz70Hp7p+KnTzuztmhIFrZxyA",
    "{BLF-CRYPT}$2y$12$abcdefghijklmnopqrstuuEglhETm4WI6F5Cx.ebuOnzo0nOLUUsO",
    "$2a$04$abcdefghijklmnopqrstu.BPDdey8gF1UjI6ydqu6LJwKQDcYcSwa",
    "$2b$04$abcdefghijklmnopqrstuOfXgoDPt6cUmTiL72vHid.K5TZ4V6pxW",
    "$2y$04$abcdefghijklmnopqrstue6/rxDFpwsQpVPs4RFXuaf6UcVq6Da/y",
    "{SHA512-CRYPT}$6$rounds=100000$saltsaltsaltsalt$av4wwtPdKkOmLrLRClwlR36OEGUuyJ0tzt7NKaSOoLVdmt3FAN/iiWrsCZKYgfrnZ.qWJ3EeIrYW0bnGldZJl.",
    "$6$s$HxkJ6I9uvVw2aqEvSZZnWlLXXxWTFw9Jact3RHL3vo/rgLUoXS4H8CEvSGZZl1H0YDLvcvMQEu/p1rVu0zS4G.",
    "{SHA256-CRYPT}$5$rounds=1000$salt./AZ$62b/a80EW4c7kNJS7e2Q8LjRjDGbJ92z5N2Z0u06Py7",
    "$5$saltsalt$dIB7nLQsSSEP6yWYFVnkDabCFe3nO54vJ4rULmQiT74",
    "{PBKDF2}$1$saltsaltsaltsalt$200000$bfb510c2fafe16e181eb8255c4d7e26f78d1e8f7",
    "{PBKDF2}$1$s$1$D9F079AFEC901650D795ABFFADD441091C316BCC",
    "{SSHA512}Xo9mON8YQU73/Owl6ahQH7Zp/+E0Inm1Kz8a9ztKM72YUZPpD+BL/FTJvD6Bt1xi0SpEjrPUMspByuSeEN+iKQABAgMEBQYH",
    "{ssha256}HRZUvloIhMKjyV4mNT/EtwLf/lMjAevKa7opzZ++wR8AAQID",
    "{SSHA}mNYZx8YkL1LDWJ7hJlk4S5p/xxVz",
    "{SSHA}dtScdCzlLgshOrSdiNBPRcoyewIAAQIDBAUGBwgJCgsMDQ4PEBESExQVFhcYGRobHB0eHyAhIiMkJSYnKCkqKywtLi8wMTIzNDU2Nzg5Ojs8PT4/",
    "{MD5-CRYPT}$1$saltsalt$AfYEQT3SUP66g0dahANlV1",
    "$1$s$/c1BW6w9oJpS/qO28nFiV0",
)
