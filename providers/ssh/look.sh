say content
cat "$f"
say end
