/* cc -o client client.c && ./client edgepipe run ./bundle --serve-stdin < texts.txt */
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void write_json(FILE *out, const char *text) { /* a line of text as a JSON string */
    fputc('"', out);
    for (; *text && *text != '\n'; text++) {
        unsigned char letter = (unsigned char)*text;
        if (letter == '"' || letter == '\\') fprintf(out, "\\%c", letter);
        else if (letter < 0x20) fprintf(out, "\\u%04x", letter);
        else fputc(letter, out);
    }
    fputs("\"\n", out);
    fflush(out);
}

int main(int count, char **command) {
    int to[2], from[2];
    if (count < 2 || pipe(to) || pipe(from)) return 2;
    pid_t child = fork();
    if (child == 0) { /* the model's process: our pipes are its standard input and output */
        dup2(to[0], 0), dup2(from[1], 1);
        close(to[0]), close(to[1]), close(from[0]), close(from[1]);
        execvp(command[1], command + 1);
        _exit(127);
    }
    close(to[0]), close(from[1]);
    FILE *requests = fdopen(to[1], "w"), *answers = fdopen(from[0], "r");
    char *text = NULL, *answer = NULL;
    size_t room = 0, space = 0;
    if (getline(&answer, &space, answers) < 0) return 1; /* {"ready": ...} */
    while (getline(&text, &room, stdin) >= 0) {
        write_json(requests, text);
        if (getline(&answer, &space, answers) < 0) return 1; /* it ended */
        fputs(answer, stdout);
    }
    fclose(requests); /* no more: it ends */
    int status = 1;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
