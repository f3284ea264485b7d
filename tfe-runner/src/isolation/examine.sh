# What a sandboxed program finds. Arguments: a readable file outside, a directory that it may change, a process
# outside, and how long a program that stays behind would sleep.
[ -r "$1" ] && echo file
: 2>/dev/null >"$2/own" || echo unwritable
kill -0 "$3" 2>/dev/null && echo signal
[ -e "/proc/$3" ] && echo process
sleep "$4" >/dev/null 2>&1 &
echo end
