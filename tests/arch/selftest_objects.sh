# selftest_objects.sh CC - the checks of objects find what they are for, in objects of a few lines.
set -eu
. "$(dirname "$0")/selftest_common.sh"
CC=$1

# object NAME: a file of a room, its C from standard input.
object()
{
    folder=$TREE/b/proxy/room/CMakeFiles/proxy_room.dir
    mkdir -p "$folder"
    cat >"$TREE/$1.c"
    "$CC" -O0 -fno-builtin -c "$TREE/$1.c" -o "$folder/$1.c.o"
    echo "$folder/$1.c.o" >>"$TREE/objects"
}

anew()
{
    rm -rf "$TREE/b" "$TREE/objects"
}

object low <<'END'
int low(void) { return 1; }
END
object middle <<'END'
int low(void);
int middle(void) { return low(); }
END
object high <<'END'
int low(void);
int middle(void);
int main(void) { return low() + middle(); }
END
passes "floors of calls" "$HERE/cycles.sh" "$TREE/objects" "$TREE/b"
passes "nothing banned" "$HERE/banned.sh" "$TREE/objects" "$TREE/b"

# Through a third file, behind an extern declaration.
anew
object a <<'END'
int b(void);
int a(void) { return b(); }
END
object b <<'END'
int c(void);
int b(void) { return c(); }
END
object c <<'END'
int c(void) { extern int a(void); return a(); }
END
finds "proxy/room/c.c calls a() of proxy/room/a.c" "$HERE/cycles.sh" "$TREE/objects" "$TREE/b"

# Data is a tie like a call.
anew
object a <<'END'
extern int table[];
int a(void) { return table[0]; }
END
object b <<'END'
int a(void);
int table[1];
int b(void) { return a(); }
END
finds "a ring:" "$HERE/cycles.sh" "$TREE/objects" "$TREE/b"

anew
echo "$TREE/b/gone.o" >"$TREE/objects"
finds "1 objects are not built" "$HERE/cycles.sh" "$TREE/objects" "$TREE/b"

anew
object a <<'END'
char *strcpy(char *to, const char *from);
void free(void *ptr);
void a(char *to) { strcpy(to, "x"); free(to); }
END
finds "proxy/room/a.c: strcpy() is banned" "$HERE/banned.sh" "$TREE/objects" "$TREE/b"
finds "proxy/room/a.c: free() is banned" "$HERE/banned.sh" "$TREE/objects" "$TREE/b"

anew
object a <<'END'
char *__strcat_chk(char *to, const char *from, unsigned long size);
void a(char *to) { __strcat_chk(to, "x", 1); }
END
finds "proxy/room/a.c: strcat() is banned" "$HERE/banned.sh" "$TREE/objects" "$TREE/b"
exit $FAILED
