/* A PKCS #11 module that hands every call on to another one, and fails where a test asks it to.
 *
 * FAULTY_MODULE names the other module, FAULTY_FILE a file with lines `index code times milliseconds`: the function of
 * that index in CK_FUNCTION_LIST answers with the code (0: works) after that time, so many times. C_GetTokenInfo works,
 * and has the code among the flags of the token.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FUNCTIONS 68
#define LINES 32

typedef unsigned long word;
typedef word (*call)(word, word, word, word, word, word, word, word);

struct list {
    unsigned char version[2];
    call function[FUNCTIONS];
};

static struct list *real;
static struct list ours;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* Takes one fault of the function out of the file. */
static word fault(int index) {
    int indices[LINES], times[LINES], count = 0;
    word codes[LINES], code = 0;
    unsigned pauses[LINES], pause = 0;
    const char *path = getenv("FAULTY_FILE");
    FILE *file;

    pthread_mutex_lock(&lock);
    file = path ? fopen(path, "r") : NULL;
    if (file) {
        while (count < LINES &&
               fscanf(file, "%d %lu %d %u", &indices[count], &codes[count], &times[count], &pauses[count]) == 4)
            count++;
        fclose(file);
    }
    for (int i = 0; i < count; i++) {
        if (indices[i] != index || times[i] <= 0)
            continue;
        times[i]--;
        code = codes[i];
        pause = pauses[i];
        file = fopen(path, "w");
        for (int j = 0; file && j < count; j++)
            fprintf(file, "%d %lu %d %u\n", indices[j], codes[j], times[j], pauses[j]);
        if (file)
            fclose(file);
        break;
    }
    pthread_mutex_unlock(&lock);
    if (pause)
        usleep(pause * 1000);
    return code;
}

#define WRAP(i)                                                                                   \
    static word wrapped_##i(word a, word b, word c, word d, word e, word f, word g, word h) {     \
        word code = fault(i);                                                                     \
        return code ? code : real->function[i](a, b, c, d, e, f, g, h);                           \
    }

#define FLAGS_OFFSET (32 + 32 + 16 + 16) /* in CK_TOKEN_INFO */

static word wrapped_6(word a, word b, word c, word d, word e, word f, word g, word h) {
    word flags = fault(6), code = real->function[6](a, b, c, d, e, f, g, h);
    if (!code)
        *(word *)((char *)b + FLAGS_OFFSET) |= flags;
    return code;
}

WRAP(4)  /* C_GetSlotList */
WRAP(12) /* C_OpenSession */
WRAP(15) /* C_GetSessionInfo */
WRAP(18) /* C_Login */
WRAP(22) /* C_DestroyObject */
WRAP(26) /* C_FindObjectsInit */
WRAP(29) /* C_EncryptInit */
WRAP(30) /* C_Encrypt */
WRAP(33) /* C_DecryptInit */
WRAP(34) /* C_Decrypt */
WRAP(42) /* C_SignInit */
WRAP(43) /* C_Sign */
WRAP(48) /* C_VerifyInit */
WRAP(58) /* C_GenerateKey */
WRAP(59) /* C_GenerateKeyPair */

__attribute__((visibility("default"))) word C_GetFunctionList(struct list **list) {
    word (*get)(struct list **);
    void *module;

    if (!real) {
        module = dlopen(getenv("FAULTY_MODULE"), RTLD_NOW | RTLD_LOCAL);
        get = module ? (word(*)(struct list **))dlsym(module, "C_GetFunctionList") : NULL;
        if (!get || get(&real))
            return 5; /* CKR_GENERAL_ERROR */
        memcpy(&ours, real, sizeof ours);
        ours.function[4] = wrapped_4;
        ours.function[6] = wrapped_6;
        ours.function[12] = wrapped_12;
        ours.function[15] = wrapped_15;
        ours.function[18] = wrapped_18;
        ours.function[22] = wrapped_22;
        ours.function[26] = wrapped_26;
        ours.function[29] = wrapped_29;
        ours.function[30] = wrapped_30;
        ours.function[33] = wrapped_33;
        ours.function[34] = wrapped_34;
        ours.function[42] = wrapped_42;
        ours.function[43] = wrapped_43;
        ours.function[48] = wrapped_48;
        ours.function[58] = wrapped_58;
        ours.function[59] = wrapped_59;
    }
    *list = &ours;
    return 0;
}
