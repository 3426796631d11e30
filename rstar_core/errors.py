"""The one exception that means "the user can mend this": its text is the single line they see."""

import errno

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # of an OSError: a full disk, quota or limit


class UserError(Exception):
    """Bad input or environment. The message says what is wrong and how to mend it, in one line."""
