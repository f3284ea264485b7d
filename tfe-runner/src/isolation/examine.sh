# What a sandboxed program finds. Arguments: a readable file outside, a directory that it may change, a process
# outside, and how long a program that stays behind would sleep.
# Opened, since Landlock has no part in a question for permission.
(: <"$1") 2>/dev/null && echo file
(: >"$2/own") 2>/dev/null || echo unwritable
kill -0 "$3" 2>/dev/null && echo signal
[ -e "/proc/$3" ] && echo process
sleep "$4" >/dev/null 2>&1 &
echo end
