# was, will: what cksum says of the file now and afterwards. write: prints the
# file as it is to be.
l=$f.secretctl-lock
t=$f.secretctl-$$

# A lock is a link whose target names its process: made in one step, and whoever
# finds one can tell whether that process is still there.
make() { ln -s "secretctl-pid-$$" "$l"; }
take() {
	make && return
	if [ ! -h "$l" ]; then # it is gone again, or there is no room for it
		make && return
		[ -h "$l" ] || stop unwritten
	fi
	held=$(ls -l "$l")
	pid=${held##*secretctl-pid-}
	case $pid in
	'' | *[!0-9]*) return 1 ;;
	esac
	kill -0 "$pid" && return 1
	mv "$l" "$t.lock" || return 1
	held=$(ls -l "$t.lock")
	if [ "${held##*secretctl-pid-}" != "$pid" ]; then
		mv "$t.lock" "$l" # another's, who was faster
		return 1
	fi
	rm -f "$t.lock" "$f.secretctl-$pid"
	make
}

tries=0
until take; do
	tries=$((tries + 1))
	[ "$tries" -lt 5 ] || stop locked
	sleep 1
done
trap 'rm -f "$t" "$l"' EXIT
trap 'exit 1' HUP INT PIPE TERM

[ "$(cksum <"$f")" = "$was" ] || stop changed
rm -f "$t"
cp -p "$f" "$t" || stop unwritten # for its owner and mode
write >"$t" || stop unwritten
[ "$(cksum <"$t")" = "$will" ] || stop unwritten
sync "$t" || :
[ "$(cksum <"$f")" = "$was" ] || stop changed # by one who knows no lock
mv -f "$t" "$f" || stop unwritten
sync "$d" || :
stop "done"
