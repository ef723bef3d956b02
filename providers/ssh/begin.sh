# n: a word that marks what this says. f: the authorized_keys file. tools: the
# programs that this takes.
LC_ALL=C
export LC_ALL
umask 077
exec 2>/dev/null
say() { printf '%s:%s\n' "$n" "$1"; }
stop() {
	say "$1"
	exit 0
}
say begin
case $f in
/*) ;;
*) cd || stop home ;;
esac
d=${f%/*}
[ -n "$d" ] || d=/
for tool in $tools; do
	command -v "$tool" >/dev/null || stop "tool $tool"
done
if [ -h "$f" ]; then stop link; fi
[ -e "$f" ] || stop missing
[ -f "$f" ] || stop odd
[ "$(id -u)" = 0 ] || [ -O "$f" ] || stop owner
[ -r "$f" ] || stop unreadable
[ -w "$f" ] && [ -w "$d" ] || stop readonly
